"""Tokens: kept while they are good, fetched anew before they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from monitor.bus import kafka_oauth
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_oauth import ClientCredentials
from monitor.core.errors import StorageError, UnavailableError


class Tokens:
    """A token endpoint that gives what it is told to, and a clock that it is told."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes, dict[str, str]] = (200, b'{"access_token": "t", "expires_in": 3600}', {})
        self.asked = 0
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tokens]:
    state = Tokens()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            state.asked += 1
            status, body, headers = state.answer
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/token"  # type: ignore[attr-defined]
    monkeypatch.setattr(kafka_oauth.time, "monotonic", state.monotonic)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def provider(tokens: Any) -> ClientCredentials:
    return ClientCredentials(
        KafkaConfig(
            security="sasl_plaintext",
            sasl_mechanism="OAUTHBEARER",
            oauth_token_url=tokens.url,
            oauth_client_id="c",
            oauth_client_secret="hush",
        )
    )


@pytest.mark.parametrize(("life", "good"), [(3600, 3530), (100, 75), (10, 7)])
def test_a_token_is_renewed_before_it_ends(tokens: Tokens, life: int, good: int) -> None:
    tokens.answer = (200, b'{"access_token": "first", "expires_in": %d}' % life, {})
    source = provider(tokens)
    assert source.token() == "first"
    tokens.now += good
    assert source.token() == "first"
    assert tokens.asked == 1
    tokens.answer = (200, b'{"access_token": "second"}', {})
    tokens.now += life - good - 1
    assert source.token() == "second"
    assert tokens.asked == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, b"{}", {}), "it answered 401"),
        ((500, b"", {}), "it answered 500"),
        ((200, b"<html>", {}), "holds no access_token"),
        ((200, b"[]", {}), "holds no access_token"),
        ((200, b'{"token": "x"}', {}), "holds no access_token"),
        ((302, b"", {"Location": "http://127.0.0.1:1/elsewhere"}), "it answered 302"),
    ],
)
def test_an_answer_without_a_token_says_so(tokens: Tokens, answer: Any, message: str) -> None:
    tokens.answer = answer
    with pytest.raises(StorageError, match=message) as caught:
        provider(tokens).token()
    assert "hush" not in str(caught.value)
    assert caught.value.hint


def test_a_server_that_is_not_there(tokens: Tokens) -> None:
    source = provider(tokens)
    source._url = "http://127.0.0.1:1/token"
    with pytest.raises(UnavailableError, match="gave no token for Kafka"):  # worth another attempt
        source.token()
