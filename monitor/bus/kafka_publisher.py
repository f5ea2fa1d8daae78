"""Publishing: an idempotent producer in a thread of its own, delivery awaited by the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from kafka import KafkaProducer, codec
from kafka import errors as kafka_errors

from monitor.bus.kafka_client import open_client
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_errors import KafkaUnreachableError, explain
from monitor.bus.kafka_record import Message
from monitor.core.errors import ConfigError, RiskwireError, StorageError, UnavailableError

_log = structlog.get_logger("kafka")

CHUNK_RECORDS = 1000
CHUNK_BYTES = 4 * 1024 * 1024
CHUNKS = 8
"""At most this many chunks are in flight: kafka-python 3 keeps what it is given without a bound of its own."""
BATCH_BYTES = 128 * 1024
LINGER_MILLIS = 5
_RETRY_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


_CODECS = {
    "lz4": (codec.has_lz4, "lz4"),
    "snappy": (codec.has_snappy, "python-snappy"),
    "zstd": (codec.has_zstd, "zstandard"),
}


def require_codec(config: KafkaConfig) -> None:
    """Raises ConfigError when the library of ``kafka.compression`` is not installed."""
    there, package = _CODECS.get(config.compression, (None, ""))
    if there is not None and not there():
        raise ConfigError(
            f"kafka.compression = '{config.compression}' needs a library that is not installed.",
            hint=f"Install it with 'pip install {package}', or choose 'gzip'.",
        )


class Publisher:
    """Sends messages and waits until all in-sync replicas have them."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="riskwire-kafka-producer")
        self._closing = threading.Event()
        self._room = asyncio.Semaphore(CHUNKS)
        self._producer: Any = None

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        """Returns when all are durable. Tries for ``delivery_timeout`` seconds; raises StorageError, and then some
        may be durable and some not."""
        for chunk in _chunks(messages):
            async with self._room:
                await self._send(topic, chunk)

    async def close(self) -> None:
        """Waits a moment for what is in flight, then lets go of it."""
        self._closing.set()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop)
        self._executor.shutdown(wait=False)

    async def _send(self, topic: str, chunk: Sequence[Message]) -> None:
        loop = asyncio.get_running_loop()
        tally = _Tally(loop, len(chunk))
        await loop.run_in_executor(self._executor, self._enqueue, topic, chunk, tally)
        try:
            async with asyncio.timeout(self._config.delivery_timeout + self._config.timeout):
                await tally.result
        except TimeoutError:
            error: BaseException = kafka_errors.KafkaTimeoutError("no answer")
        except (kafka_errors.KafkaError, RiskwireError, OSError, RuntimeError) as failed:
            error = failed
        else:
            return
        if isinstance(error, kafka_errors.IllegalStateError):  # another call's failure ended the producer of both
            error = kafka_errors.KafkaTimeoutError("the producer was given up")
        told = explain(error, self._config, topic=topic)
        if isinstance(told, StorageError) and not self._closing.is_set():
            # After a batch was given up, an idempotent producer may refuse everything else; a new one begins anew.
            await loop.run_in_executor(self._executor, self._drop)
        raise self._failed(told, topic, len(chunk)) from error

    def _failed(self, told: RiskwireError, topic: str, count: int) -> RiskwireError:
        if self._closing.is_set() and isinstance(told, StorageError):
            return StorageError(f"The bus was closed before {count} records for '{topic}' were confirmed.")
        if isinstance(told, UnavailableError):
            return KafkaUnreachableError(
                f"{count} records for '{topic}' were not confirmed within {self._config.delivery_timeout:g} seconds: "
                f"{told.message}",
                hint=told.hint,
            )
        return told

    # Below: in the thread.

    def _enqueue(self, topic: str, chunk: Sequence[Message], tally: _Tally) -> None:
        try:
            producer = self._open()
            for message in chunk:
                future = producer.send(topic, value=message.value, key=message.key, headers=message.headers)
                future.add_callback(tally.done)
                future.add_errback(tally.failed)
        except (kafka_errors.KafkaError, RiskwireError, OSError, RuntimeError, ValueError) as error:
            tally.failed(error)

    def _open(self) -> Any:
        deadline = time.monotonic() + self._config.delivery_timeout
        while self._producer is None:
            if self._closing.is_set():
                raise StorageError("The bus was closed already.")
            try:
                self._producer = self._make()
            except UnavailableError as error:
                if time.monotonic() > deadline:
                    raise
                _log.warning("kafka_unreachable", doing="publish", reason=str(error))
                self._closing.wait(_RETRY_SECONDS)
        return self._producer

    def _make(self) -> Any:
        delivery = max(self._config.delivery_timeout, self._config.timeout + 1)
        return open_client(
            KafkaProducer,
            self._config,
            acks="all",
            enable_idempotence=True,
            max_in_flight_requests_per_connection=5,
            compression_type=None if self._config.compression == "none" else self._config.compression,
            delivery_timeout_ms=int(delivery * 1000),
            max_block_ms=int(self._config.delivery_timeout * 1000),
            max_request_size=self._config.max_message_bytes,
            batch_size=BATCH_BYTES,
            linger_ms=LINGER_MILLIS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.flush(timeout=_CLOSE_SECONDS if self._closing.is_set() else 0)
        except kafka_errors.KafkaTimeoutError as error:
            _log.warning("kafka_producer_closed_early", reason=str(error))
            # close() would only raise the same and leave everything running; what waits is told that it failed.
            producer._sender.force_close()
            producer._sender.join(_CLOSE_SECONDS)
        producer.close(timeout=_CLOSE_SECONDS)


class _Tally:
    """Counts deliveries in the producer's thread and wakes the event loop once, after the last."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.result: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._lock = threading.Lock()
        self._left = count

    def done(self, _: object) -> None:
        """One more was delivered."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._tell(None)

    def failed(self, error: BaseException) -> None:
        """One could not be delivered: no need to wait for the others."""
        self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, error)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

    def _resolve(self, error: BaseException | None) -> None:
        if self.result.done():
            return
        if error is None:
            self.result.set_result(None)
        else:
            self.result.set_exception(error)


def _chunks(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    chunk: list[Message] = []
    size = 0
    for message in messages:
        if chunk and (len(chunk) >= CHUNK_RECORDS or size + message.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += message.size
    if chunk:
        yield chunk
