"""Polite, guarded fetching over HTTP."""

from connectors.http.fetcher import Fetcher, Response
from connectors.http.policy import HttpPolicy

__all__ = ["Fetcher", "HttpPolicy", "Response"]
