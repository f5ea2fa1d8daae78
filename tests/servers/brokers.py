"""Fixtures: a Kafka and an Elasticsearch server over TCP, started once for the whole run of pytest.

Taken from RISKWIRE_TEST_KAFKA ('host:port', several with commas) and RISKWIRE_TEST_ELASTIC (a URL) when set, else from
Docker by testcontainers (``pip install testcontainers``) when an engine answers, else from noida-db (a development
dependency). Whoever uses a server chooses names of its own (topics, groups, indices): it is shared by all tests and
may be a real one with other people's data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import containers, noida


def _log(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp("servers", numbered=True) / f"{name}.log"


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a Kafka cluster, 'host:port'."""
    if given := os.environ.get("RISKWIRE_TEST_KAFKA"):
        yield given
    elif containers.available():
        with containers.kafka(_log(tmp_path_factory, "kafka")) as address:
            yield address
    else:
        with noida.running("kafka", _log(tmp_path_factory, "kafka")) as address:
            yield address


@pytest.fixture(scope="session")
def elastic_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an Elasticsearch cluster, 'http://host:port'."""
    if given := os.environ.get("RISKWIRE_TEST_ELASTIC"):
        yield given.rstrip("/")
    elif containers.available():
        with containers.elastic(_log(tmp_path_factory, "elasticsearch")) as url:
            yield url
    else:
        with noida.running("elasticsearch", _log(tmp_path_factory, "elasticsearch")) as address:
            yield f"http://{address}"
