"""Opens what carries and keeps the data, as configured: the part of the composition root that knows the backends."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.bus.sqlite import SqliteBus
from monitor.config import Settings
from monitor.core.clock import Clock
from monitor.core.errors import ConfigError
from monitor.core.ports import Bus, IncidentMirror, StateStore, Store
from monitor.db.directory import DataDirectory
from monitor.secrets import secret
from monitor.state.opening import open_postgres
from monitor.state.sqlite import SqliteState
from monitor.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from monitor.bus.kafka_config import KafkaConfig
    from monitor.store.elastic_config import ElasticConfig

# The clients of servers are imported where they are used: they are extras, and whoever needs none starts faster.


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The bus, the article store and the state store, as far as they were asked for. ``shared``: the state is other
    processes' too, so that work on it needs a lease."""

    given_bus: Bus | None = None
    given_store: Store | None = None
    state: StateStore
    shared: bool = False
    mirror: IncidentMirror | None = None
    """Where incidents are copied to, when the articles are in Elasticsearch."""

    @property
    def bus(self) -> Bus:
        """The bus; opened only when it was asked for."""
        if self.given_bus is None:
            raise RuntimeError("the bus was not opened")
        return self.given_bus

    @property
    def store(self) -> Store:
        """The article store; opened only when it was asked for."""
        if self.given_store is None:
            raise RuntimeError("the article store was not opened")
        return self.given_store


def instance(settings: Settings) -> str:
    """The name of this process among its like: ``scale.instance``, else made from host and process id."""
    return settings.scale.instance or f"{socket.gethostname()}-{os.getpid()}"


def kafka_config(settings: Settings) -> KafkaConfig:
    """The [kafka] section with its secrets. Raises ConfigError."""
    require("kafka", "kafka", "bus.kind = 'kafka'")
    from monitor.bus.kafka_config import KafkaConfig

    keys = settings.kafka
    return KafkaConfig(
        bootstrap=keys.bootstrap,
        topic_prefix=keys.topic_prefix,
        client_id=keys.client_id,
        security=keys.security,
        sasl_mechanism=keys.sasl_mechanism,
        username=keys.username,
        password=secret(keys.password, keys.password_file, "kafka.password"),
        oauth_token_url=keys.oauth_token_url,
        oauth_client_id=keys.oauth_client_id,
        oauth_client_secret=secret(
            keys.oauth_client_secret, keys.oauth_client_secret_file, "kafka.oauth_client_secret"
        ),
        oauth_scope=keys.oauth_scope,
        ca_file=keys.ca_file,
        cert_file=keys.cert_file,
        key_file=keys.key_file,
        check_hostname=keys.check_hostname,
        compression=keys.compression,
        partitions=keys.partitions,
        replication=keys.replication,
        min_insync=keys.min_insync,
        log_days=settings.retention.log_days,
        dead_letter_days=keys.dead_letter_days,
        timeout=keys.timeout,
        delivery_timeout=keys.delivery_timeout,
        session_timeout=keys.session_timeout,
        buffer_records=keys.buffer_records,
    )


def elastic_config(settings: Settings) -> ElasticConfig:
    """The [elastic] section with its secrets. Raises ConfigError."""
    require("elasticsearch", "elastic", "store.kind = 'elastic'")
    from monitor.store.elastic_config import ElasticConfig

    keys = settings.elastic
    return ElasticConfig(
        urls=keys.urls,
        prefix=keys.prefix,
        api_key=secret(keys.api_key, keys.api_key_file, "elastic.api_key"),
        username=keys.username,
        password=secret(keys.password, keys.password_file, "elastic.password"),
        ca_file=keys.ca_file,
        fingerprint=keys.fingerprint,
        shards=keys.shards,
        replicas=keys.replicas,
        refresh_seconds=keys.refresh_seconds,
        timeout=keys.timeout,
        bulk_items=keys.bulk_items,
        bulk_bytes=keys.bulk_bytes,
        retention_days=settings.retention.articles_days,
    )


def state_address(settings: Settings) -> tuple[str, str | None]:
    """URL and password of the state database; the URL is empty when the state is a file. Raises ConfigError."""
    url = settings.state.url.get_secret_value()
    if not url:
        return "", None
    file = settings.state.password_file
    return url, secret(None, file, "state.password") if file is not None else None


def require(package: str, extra: str, key: str) -> None:
    """Raises ConfigError when the library that ``key`` needs is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ConfigError(
            f"{key} needs the package '{package}', which is not installed.",
            hint=f"Install it: pip install 'riskwire[{extra}]'.",
        )


@asynccontextmanager
async def open_storage(
    settings: Settings, clock: Clock, *, guest: bool = False, bus: bool = True, store: bool = True
) -> AsyncIterator[Storage]:
    """Opens the configured state store, bus and article store; closes them in the end.

    Who needs no ``bus`` or no ``store`` says so, and then works while that server is away. The daemon is the owner of
    its data folder; ``guest`` is for operator commands that run beside it. Raises ConfigError, StorageError,
    DatabaseLockedError when another owner holds the folder.
    """
    url, password = state_address(settings)
    kafka = kafka_config(settings) if bus and settings.bus.kind == "kafka" else None
    elastic = elastic_config(settings) if store and settings.store.kind == "elastic" else None
    async with AsyncExitStack() as stack:
        directory: DataDirectory | None = None
        if (bus and kafka is None) or (store and elastic is None) or not url:
            directory = DataDirectory.open(settings.data_dir, mode="guest" if guest else "owner")
            stack.callback(directory.close)
        opened_bus: Bus | None = None
        opened_store: Store | None = None
        mirror: IncidentMirror | None = None
        state: StateStore
        if kafka is not None:
            from monitor.bus.kafka import KafkaBus

            opened_bus = await KafkaBus.open(kafka, clock=clock)
        elif bus:
            assert directory is not None
            opened_bus = await SqliteBus.open(directory, clock=clock)
        if opened_bus is not None:
            stack.push_async_callback(opened_bus.close)
        if elastic is not None:
            from monitor.store.elastic import ElasticStore
            from monitor.store.elastic_incidents import ElasticIncidents

            opened_store = await ElasticStore.open(elastic, clock=clock)
            mirror = ElasticIncidents(elastic)
            stack.push_async_callback(mirror.close)
        elif store:
            assert directory is not None
            opened_store = await SqliteStore.open(directory, clock=clock)
        if opened_store is not None:
            stack.push_async_callback(opened_store.close)
        if url:
            state = await open_postgres(url, password=password, guest=guest)
        else:
            assert directory is not None
            state = await SqliteState.open(directory)
        stack.push_async_callback(state.close)
        yield Storage(given_bus=opened_bus, given_store=opened_store, state=state, shared=bool(url), mirror=mirror)
