"""Records as Kafka messages and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.bus.kafka_record import OVERHEAD, TIME_HEADER, Message, decode, encode
from monitor.core.errors import RecordError
from monitor.core.types import Record

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
NAMES = st.text(max_size=20).filter(lambda name: name != TIME_HEADER)
TIMES = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9))]),
)


def received(message: Message, **fields: Any) -> Any:
    values = {"partition": 3, "offset": 7, "key": message.key, "value": message.value, "headers": message.headers}
    return SimpleNamespace(**(values | {"timestamp": 1_700_000_000_000} | fields))


@given(key=ANY_TEXT, value=st.binary(max_size=50), moment=TIMES, headers=st.dictionaries(NAMES, ANY_TEXT, max_size=4))
def test_a_record_comes_back_as_it_was(key: str, value: bytes, moment: datetime, headers: dict[str, str]) -> None:
    record = Record(key=key, value=value, timestamp=moment, headers=headers)
    delivery = decode("t", received(encode(record)))
    assert delivery.record == record
    assert (delivery.topic, delivery.partition, delivery.offset) == ("t", 3, 7)


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
    headers=st.lists(st.tuples(st.text(max_size=5) | st.just(TIME_HEADER), st.none() | st.binary(max_size=20))),
    millis=st.none() | st.integers(-(2**63), 2**63 - 1),
)
def test_no_message_of_another_program_stops_the_reader(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], millis: int | None
) -> None:
    message = received(Message(b"", b"", []), key=key, value=value, headers=headers, timestamp=millis)
    assert decode("t", message).record.timestamp.utcoffset() == timedelta(0)


def test_a_message_without_our_header_has_its_create_time() -> None:
    message = received(Message(b"", b"", []), timestamp=1_772_442_000_123)
    assert decode("t", message).record.timestamp == datetime(2026, 3, 2, 9, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": datetime(2026, 3, 2)},  # noqa: DTZ001 - that is what is wrong
        {"headers": {TIME_HEADER: "x"}},
        {"headers": {"\ud800": "x"}},
        {"headers": {"n": 1}},
    ],
)
def test_what_cannot_be_sent_is_refused(fields: dict[str, Any]) -> None:
    values = {"key": "k", "value": b"", "timestamp": datetime(2026, 3, 2, tzinfo=UTC)}
    with pytest.raises(RecordError, match="'k'"):
        encode(Record(**(values | fields)))


@given(
    key=st.binary(max_size=300),
    value=st.binary(max_size=3000),
    headers=st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=300)), max_size=10),
)
def test_the_size_is_never_below_what_kafka_python_sends(
    key: bytes, value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    from kafka.record.default_records import DefaultRecordBatchBuilder

    message = Message(key, value, headers)
    sent = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers)
    assert sent <= message.size
    assert message.size <= len(key) + len(value) + sum(len(n.encode()) + len(v) + 10 for n, v in headers) + OVERHEAD
