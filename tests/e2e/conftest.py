"""Fixtures of the end-to-end tests."""

from e2e_tools import publisher

__all__ = ["publisher"]
