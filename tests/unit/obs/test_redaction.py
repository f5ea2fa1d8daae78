"""Secrets never reach a log: nested, in texts, in exceptions, from the standard library's logging too."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from monitor.obs.logging import configure_logging
from monitor.obs.redact import redact, redact_text

SECRET = "hunter2-9f8e7d6c5b4a"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("info", stream=out)
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


keys = st.sampled_from(
    ["token", "slack_token", "Authorization", "password", "client_secret", "api_key", "Set-Cookie", "routing_key",
     "private_key", "credentials", "heartbeat_url"]
)  # fmt: skip
noise = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
leaves = st.none() | st.booleans() | st.integers() | noise


@given(
    key=keys,
    around=st.recursive(
        st.just("HERE") | leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(noise, inner, max_size=4),
        max_leaves=12,
    ),
    wrap=st.integers(0, 9),
)
def test_a_secret_key_hides_its_value_at_any_depth(key: str, around: object, wrap: int) -> None:
    value: object = {key: [SECRET, around, {"x": SECRET}]}
    for number in range(wrap):
        value = {"inner": value} if number % 2 else [value, around]
    assert SECRET not in json.dumps(redact(value), default=str)


@given(before=noise, after=noise)
@pytest.mark.parametrize(
    "form",
    [
        "https://user:{}@host/feed", "redis://:{}@host", "Authorization: Bearer {}", "token={}&x=1", "?api_key={}",
        '{{"password": "{}"}}', "secret: '{}'", "https://hooks.slack.com/services/T0/B0/{}", "xoxb-{}",
        "https://hc-ping.com/{}", "https://x.webhook.office.com/webhookb2/{}",
    ],
)  # fmt: skip
def test_a_secret_within_a_text_is_starred(form: str, before: str, after: str) -> None:
    assert SECRET not in redact_text(f"{before} {form.format(SECRET)} {after}")


def test_what_is_no_secret_stays() -> None:
    event = {"source": "wire", "tokens": 12, "token_budget": 4096, "url": "https://a.example/x?page=2", "n": 0.5,
             "key": "topic:banks", "password_file": "/run/secret", "title": "央行下调存款准备金率"}  # fmt: skip
    assert redact(event) == event


def test_long_texts_take_linear_time() -> None:
    began = time.process_time()
    for text in ("a" * 200_000, "token" * 40_000, "a://" * 50_000, "x=" * 100_000, " " * 200_000, '"' * 200_000):
        redact_text(text)
    assert time.process_time() - began < 20


def test_exceptions_are_redacted_with_their_traceback(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"cannot open https://user:{SECRET}@host/")  # noqa: TRY301
    except ValueError as error:
        structlog.get_logger("x").exception("broken", error=error, nested={"why": [error]})
        logging.getLogger("foreign").exception("broken too")
        logging.getLogger("foreign").warning("args %s", f"password={SECRET}")
    text = stream.getvalue()
    assert text.count("ValueError") >= 2
    assert "cannot open" in text
    assert SECRET not in text


def test_headers_of_a_request_are_redacted(stream: io.StringIO) -> None:
    structlog.get_logger("x").info("asked", headers={"Authorization": f"Bearer {SECRET}", "Accept": "*/*"})
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["headers"] == {"Authorization": "***", "Accept": "*/*"}
