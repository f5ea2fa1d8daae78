"""How a kafka-python client is opened: it tells why it could not connect, and leaves nothing behind when it cannot."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from monitor.bus.kafka_config import KafkaConfig, client_kwargs
from monitor.bus.kafka_errors import explain
from monitor.core.errors import StorageError, UnavailableError

_log = structlog.get_logger("kafka")

ClientT = TypeVar("ClientT")

LOG_SECONDS = 30.0
"""A client that cannot connect says so this often."""

FINAL = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.AuthorizationError,
    kafka_errors.IncompatibleBrokerVersion,
    StorageError,
)
"""Failures to connect that trying again will not mend."""

logging.getLogger("kafka").setLevel(logging.CRITICAL)
"""kafka-python logs every attempt to connect as an error of its own; what matters is raised or logged by us."""


class Wire:
    """Makes the network client of one kafka-python client and remembers why a connection failed last."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.opened = False
        """Once it was: from then on failures are logged, because nobody is told of them otherwise."""
        self._logged_at = -LOG_SECONDS
        self._client: KafkaNetClient | None = None

    def __call__(self, **configs: Any) -> KafkaNetClient:
        net = NetworkSelector(**configs)
        self._client = KafkaNetClient(net=net, manager=_Manager(net, self, configs), **configs)
        return self._client

    def note(self, error: BaseException) -> None:
        """A connection could not be made."""
        self.failure = error
        now = time.monotonic()
        if self.opened and now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            _log.warning("kafka_connection_failed", reason=str(error))

    def abandon(self) -> None:
        """Closes what a constructor that raised has left open."""
        if self._client is not None:
            self._client.close()


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """kafka-python ends a vain bootstrap with 'Unable to bootstrap' and only logs the reasons; here they are kept,
    and a refused login ends it at once (trying on may lock the account)."""

    def __init__(self, net: NetworkSelector, wire: Wire, configs: dict[str, Any]) -> None:
        self._wire = wire
        self._connecting = 0
        super().__init__(net, **configs)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        """As kafka-python's, but what failed is closed and not left to the garbage collector."""
        made: list[socket.socket] = []
        try:
            sock = await self._dial(node, made, timeout_at)
            made.remove(sock)
            if not self.ssl_enabled:
                transport = KafkaTCPTransport(self._net, sock, host=node.host)
            else:
                context = self.config["ssl_context"]
                try:
                    transport = KafkaSSLTransport(self._net, sock, host=node.host, ssl_context=context)
                except (OSError, ValueError) as error:
                    sock.close()
                    raise kafka_errors.KafkaConnectionError(f"Handshake failed: {error}") from error
        finally:
            for sock in made:
                sock.close()
        try:
            await transport.handshake()
        except (OSError, kafka_errors.KafkaError) as error:
            transport.close()
            raise kafka_errors.KafkaConnectionError(f"Handshake failed: {error}") from error
        return transport

    async def _dial(self, node: Any, made: list[socket.socket], timeout_at: float | None) -> socket.socket:
        dialer = KafkaNetSocket()

        def opened(*args: Any) -> socket.socket:
            made.append(socket.socket(*args))
            return made[-1]

        dialer.socket = opened
        failure = kafka_errors.KafkaConnectionError(f"DNS lookup failed for {node.host}")
        for address in dialer.dns_lookup(node.host, node.port):
            try:
                options = self.config["socket_options"]
                connected: socket.socket = await dialer.connect(self._net, address, options, timeout_at=timeout_at)
            except kafka_errors.KafkaTimeoutError:
                raise kafka_errors.KafkaConnectionError("Connection timed out") from None
            except (OSError, kafka_errors.KafkaConnectionError) as error:
                failure = kafka_errors.KafkaConnectionError(str(error))
            else:
                return connected
        raise failure

    def get_connection(self, node_id: Any, **kwargs: Any) -> Any:
        connection = super().get_connection(node_id, **kwargs)
        if not connection.init_future.is_done:
            connection.init_future.add_errback(self._wire.note)
        return connection

    async def _connect(self, *args: Any, **kwargs: Any) -> None:
        self._connecting += 1
        try:
            await super()._connect(*args, **kwargs)
        finally:
            self._connecting -= 1

    def update_backoff(self, node_id: Any) -> Any:
        backoff = super().update_backoff(node_id)
        failure = self._wire.failure
        final = isinstance(failure, FINAL) and not isinstance(failure, UnavailableError)
        if not self._connecting and self.cluster.is_bootstrap(node_id) and failure is not None and final:
            raise failure
        return backoff


def open_client(factory: Callable[..., ClientT], config: KafkaConfig, **more: Any) -> ClientT:
    """Makes a KafkaConsumer, KafkaProducer or KafkaAdminClient. Blocks until it has spoken to a broker, at most ten
    seconds. Raises StorageError that says why it could not, ConfigError for files that cannot be used."""
    wire = Wire()
    try:
        client = factory(**(client_kwargs(config) | more), kafka_client=wire)
    except (kafka_errors.KafkaError, StorageError, OSError, RuntimeError, AssertionError) as error:
        wire.abandon()
        told = wire.failure if isinstance(error, kafka_errors.KafkaTimeoutError) and wire.failure else error
        raise explain(told, config) from error
    wire.opened = True
    return client


def unpark(consumer: Any) -> None:
    """Lets a consumer find again what it has put aside for partitions that were paused and resumed.

    kafka-python 3.0 sets aside what it had read of a partition that is paused, and takes it up again only while it has
    nothing else in hand. It asks for that with ``is None``, but what it has read to the end stays in its hand, so the
    partition is never read again. To be called before each poll, by the thread that polls.
    """
    fetcher = consumer._fetcher
    in_hand = fetcher._next_partition_records
    if in_hand is not None and not in_hand:  # read to the end
        fetcher._next_partition_records = None
