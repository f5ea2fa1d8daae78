"""The PostgreSQL server of the tests."""

from servers.postgres import postgres_cluster, postgres_place

__all__ = ["postgres_cluster", "postgres_place"]
