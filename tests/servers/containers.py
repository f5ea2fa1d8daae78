"""Apache Kafka and Elasticsearch in containers, when testcontainers is installed and a Docker engine answers.

Images are set by RISKWIRE_TEST_KAFKA_IMAGE and RISKWIRE_TEST_ELASTIC_IMAGE.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers.waiting import START_SECONDS, ask_elastic, ask_kafka, free_port, wait_until_answers

KAFKA_IMAGE = "apache/kafka:3.9.1"
ELASTIC_IMAGE = "docker.elastic.co/elasticsearch/elasticsearch:8.19.3"


def available() -> bool:
    """True when testcontainers is installed and a Docker engine answers."""
    if importlib.util.find_spec("testcontainers") is None:
        return False
    import docker  # comes with testcontainers
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return False
    try:
        client.ping()
    except (DockerException, OSError):  # requests' errors are OSErrors
        return False
    finally:
        client.close()
    return True


@contextmanager
def _container(image: str, settings: dict[str, str], port: int, inside: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, not ours
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(image).with_envs(**settings).with_bind_ports(inside, port)
        container.start()
    try:
        yield container
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            container.stop()


@contextmanager
def _answering(container: Any, ask: Any, what: str, log: Path) -> Iterator[None]:
    def alive() -> bool:
        container.reload()
        return bool(container.status in {"created", "running"})

    try:
        wait_until_answers(ask, alive=alive, what=what, seconds=START_SECONDS)
        yield
    finally:
        log.write_bytes(b"\n".join(container.get_logs()))


@contextmanager
def kafka(log: Path) -> Iterator[str]:
    """One Apache Kafka broker that is its own controller (KRaft), without topic auto-creation; gives 'host:port'."""
    host, port = os.environ.get("TESTCONTAINERS_HOST_OVERRIDE", "localhost"), free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        # Clients go to the address that the broker tells them: it must be the one outside the container.
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{host}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    image = os.environ.get("RISKWIRE_TEST_KAFKA_IMAGE", KAFKA_IMAGE)
    with (
        _container(image, settings, port, 9092) as container,
        _answering(container, lambda: ask_kafka(host, port), image, log),
    ):
        yield f"{host}:{port}"


@contextmanager
def elastic(log: Path) -> Iterator[str]:
    """One Elasticsearch node without security; gives its URL."""
    host, port = os.environ.get("TESTCONTAINERS_HOST_OVERRIDE", "localhost"), free_port()
    settings = {
        "discovery.type": "single-node",
        "xpack.security.enabled": "false",
        "cluster.routing.allocation.disk.threshold_enabled": "false",  # a full developer's disk is no test's matter
        "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
    }
    image = os.environ.get("RISKWIRE_TEST_ELASTIC_IMAGE", ELASTIC_IMAGE)
    url = f"http://{host}:{port}"
    with (
        _container(image, settings, port, 9200) as container,
        _answering(container, lambda: ask_elastic(url), image, log),
    ):
        yield url
