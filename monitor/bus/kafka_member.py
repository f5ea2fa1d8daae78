"""The thread behind a subscription: it polls without a pause, so that the member stays in its group however long a
batch takes, and everything that kafka-python's consumer is asked is asked here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from monitor.bus.kafka_claims import Claims
from monitor.bus.kafka_client import FINAL, open_client, unpark
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_errors import KafkaUnreachableError, explain
from monitor.bus.kafka_record import decode
from monitor.core.errors import RiskwireError, StorageError, UnavailableError

_log = structlog.get_logger("kafka")

POLL_MILLIS = 100
"""Longest wait for records in one poll; it returns at once when some come. A commit waits this long at most."""
BUSY_POLL_MILLIS = 20
"""The same while something is being worked on, so that a commit is coming."""
REST_SECONDS = 0.1
"""Between two polls while there is nothing to fetch from; commits and freed room end it at once."""
COMMIT_SECONDS = 5.0
"""One attempt to commit."""
CLOSE_SECONDS = 5.0
RETRY_SECONDS = 0.5
ROUND_SECONDS = 0.05
"""Between the two rounds of a cooperative rebalance; the member's heartbeats wait for it, its work does not."""
REBUILDS = 5
"""Consecutive failures of the client that are no outage, after which the subscription gives up."""
_GIVE_UP = (
    *FINAL,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.InconsistentGroupProtocolError,
    kafka_errors.InvalidGroupIdError,
    kafka_errors.InvalidSessionTimeoutError,
    kafka_errors.GroupMaxSizeReachedError,
)
_NOT_MEMBER = (
    kafka_errors.RebalanceInProgressError,
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
)
"""The group is being shared anew: polling goes on, and what is still held afterwards is committed then."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A commit that waits for its confirmation."""

    loop: asyncio.AbstractEventLoop
    confirmed: asyncio.Future[None]
    deadline: float

    def answer(self, error: BaseException | None) -> None:
        """From any thread."""
        try:
            self.loop.call_soon_threadsafe(self._resolve, error)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

    def _resolve(self, error: BaseException | None) -> None:
        if self.confirmed.done():
            return
        if error is None:
            self.confirmed.set_result(None)
        else:
            self.confirmed.set_exception(error)


class Member:
    """One member of a consumer group and its thread. ``tell`` is called from the thread whenever there is news."""

    def __init__(self, config: KafkaConfig, *, topic: str, name: str, group: str, tell: Callable[[], None]) -> None:
        self._config = config
        self._topic = topic
        self._name = name
        self._group = group
        self._tell = tell
        self.claims = Claims(config.buffer_records)
        self.joined = False
        """Whether it was given its share of the topic at least once."""
        self.member_id = ""
        """How the group names it."""
        self.failure: RiskwireError | None = None
        """Why it has given up."""
        self._lock = threading.Lock()
        self._requests: deque[_Request] = deque()
        self._stopped: StorageError | None = None
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"riskwire-kafka-{group}", daemon=True)

    def start(self) -> None:
        """Begins to join."""
        self._thread.start()

    def stop(self, why: StorageError) -> None:
        """Begins to leave; commits that wait get ``why``."""
        self._stopped = why
        self.wake()

    def wait(self, seconds: float) -> None:
        """Blocks until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                _log.warning("kafka_member_hangs", group=self._group, waited=seconds)
        self._answer(list(self._requests), self._stopped)

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def commit(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Asks that what is finished by now becomes durable."""
        request = _Request(loop, loop.create_future(), time.monotonic() + self._config.delivery_timeout)
        with self._lock:
            over = self._stopped or self.failure
            if over is None:
                self._requests.append(request)
        if over is not None:
            request.confirmed.set_exception(over)
        self.wake()
        return request.confirmed

    # Below: in the thread.

    def _run(self) -> None:
        failures = 0
        try:
            while self._stopped is None:
                consumer = self._open()
                if consumer is None:
                    break
                try:
                    self._serve(consumer)
                except _GIVE_UP:
                    raise
                except Exception as error:
                    # The client is in a state we do not know: a new one goes on from what is committed.
                    failures = 0 if self._healthy else failures + 1
                    if failures >= REBUILDS:
                        raise
                    _log.warning("kafka_consumer_rebuilt", group=self._group, reason=repr(error), failures=failures)
                    self._wake.wait(RETRY_SECONDS)
                finally:
                    self._close(consumer)
        except Exception as error:  # noqa: BLE001 - whatever ends the thread must reach who waits for it
            self._fail(explain(error, self._config, topic=self._topic, group=self._group))
        finally:
            self._answer(self._take_requests(), self._stopped or self.failure)
            self._tell()

    def _open(self) -> Any:
        """A consumer; None when it is time to stop. Once joined, an outage is waited out."""
        while self._stopped is None:
            try:
                consumer = self._make()
            except UnavailableError as error:
                if not self.joined:
                    raise
                _log.warning("kafka_unreachable", doing="rejoin", group=self._group, reason=str(error))
                self._expire_requests()
                self._wake.wait(RETRY_SECONDS)
                self._wake.clear()
            else:
                consumer.subscribe([self._topic], listener=_Listener(self.claims))
                return consumer
        return None

    def _make(self) -> Any:
        session = int(self._config.session_timeout * 1000)
        return open_client(
            KafkaConsumer,
            self._config,
            group_id=self._group,
            partition_assignment_strategy=(_Assignor(self._topic, self.claims),),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            session_timeout_ms=session,
            heartbeat_interval_ms=int(self._config.heartbeat * 1000),
            max_poll_interval_ms=session,
            max_partition_fetch_bytes=1024 * 1024,
            fetch_max_bytes=16 * 1024 * 1024,
            metrics_enabled=False,
        )

    def _serve(self, consumer: Any) -> None:
        self._healthy = False
        while self._stopped is None:
            self._wake.clear()
            pause, resume = self.claims.crowded()
            consumer.pause(*self._places(pause))
            consumer.resume(*self._places(resume))
            room = self.claims.room
            resting = self.claims.resting or room == 0
            if resting and self.claims.partitions:
                wait = 0
            else:
                wait = BUSY_POLL_MILLIS if self.claims.unfinished or self._requests else POLL_MILLIS
            try:
                unpark(consumer)
                # Without room the partitions are all paused: then nothing comes, whatever is allowed.
                found = consumer.poll(timeout_ms=wait, max_records=max(1, room))
            except (kafka_errors.RetriableError, UnavailableError) as error:
                _log.warning("kafka_poll_failed", group=self._group, reason=repr(error))
                self._wake.wait(RETRY_SECONDS)
                found = {}
            else:
                self._healthy = True
            for place, messages in found.items():
                self.claims.put(place.partition, [decode(self._name, message) for message in messages])
            membership = consumer.group_metadata()
            self.member_id = membership.member_id
            if not self.joined and membership.state == MemberState.STABLE:
                self.joined = True
                self._tell()
            elif found:
                self._tell()
            self._commit(consumer)
            if resting and wait == 0:
                self._wake.wait(REST_SECONDS)

    def _places(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

    def _commit(self, consumer: Any) -> None:
        requests = self._take_requests()
        if not requests:
            return
        moved = self.claims.moved()
        if moved:
            offsets = {
                TopicPartition(self._topic, partition): OffsetAndMetadata(position, "", -1)
                for partition, (_, position) in moved.items()
            }
            try:
                consumer.commit(offsets, timeout_ms=int(COMMIT_SECONDS * 1000))
            except (*_NOT_MEMBER, kafka_errors.RetriableError, UnavailableError) as error:
                self._put_back(requests, error)
                return
            except BaseException as error:
                self._answer(requests, explain(error, self._config, topic=self._topic, group=self._group))
                raise
            self.claims.stored(moved)
        self._answer(requests, None)

    def _put_back(self, requests: list[_Request], error: BaseException) -> None:
        """They are tried again after the next poll, until their time is over."""
        if not isinstance(error, _NOT_MEMBER):
            _log.warning("kafka_commit_failed", group=self._group, reason=repr(error))
            self._wake.wait(RETRY_SECONDS)
        with self._lock:
            self._requests.extendleft(reversed(requests))
        self._expire_requests()

    def _expire_requests(self) -> None:
        now = time.monotonic()
        over: list[_Request] = []
        with self._lock:
            while self._requests and self._requests[0].deadline <= now:
                over.append(self._requests.popleft())
        self._answer(
            over,
            KafkaUnreachableError(
                f"Kafka at {self._config.brokers} did not take a commit of group '{self._group}' within "
                f"{self._config.delivery_timeout:g} seconds.",
                hint="What was not committed is delivered again.",
            ),
        )

    def _take_requests(self) -> list[_Request]:
        with self._lock:
            requests = list(self._requests)
            self._requests.clear()
        return requests

    @staticmethod
    def _answer(requests: Iterable[_Request], error: BaseException | None) -> None:
        for request in requests:
            request.answer(error)

    def _fail(self, error: RiskwireError) -> None:
        _log.error("kafka_subscription_failed", group=self._group, reason=str(error))
        with self._lock:
            self.failure = error

    def _close(self, consumer: Any) -> None:
        """Leaves the group, so that the others need not wait for the session to end."""
        try:
            consumer.close(autocommit=False, timeout_ms=int(CLOSE_SECONDS * 1000))
        except (kafka_errors.KafkaError, OSError, RuntimeError) as error:
            _log.warning("kafka_leave_failed", group=self._group, reason=repr(error))
        self.claims.revoke(self.claims.partitions)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps the claims what the group says they are. Called while the member's thread waits in ``poll``."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._claims.assign(place.partition for place in assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._claims.revoke(place.partition for place in revoked)
        # The next round begins when this returns. Everybody should have ended this one by then, or they are
        # interrupted in the middle of it and begin again.
        time.sleep(ROUND_SECONDS)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._claims.revoke(place.partition for place in lost)


class _Assignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """Claims what is really held. kafka-python's own goes on claiming what it was last assigned even after the member
    fell out of the group; it may then be given a partition back before its new reader has let go of it."""

    def __init__(self, topic: str, claims: Claims) -> None:
        super().__init__()
        self._topic = topic
        self._claims = claims

    def metadata(self, topics: Iterable[str]) -> Any:
        self.member_assignment = [TopicPartition(self._topic, partition) for partition in self._claims.partitions]
        return super().metadata(topics)
