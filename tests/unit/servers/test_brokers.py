"""The test servers answer, leave nothing behind, and say why when they cannot start."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest
from servers import noida
from servers.waiting import ask_elastic, ask_kafka, wait_until_answers


def test_kafka_answers(kafka_server: str) -> None:
    host, _, port = kafka_server.split(",")[0].rpartition(":")
    ask_kafka(host, int(port))


def test_elastic_answers(elastic_server: str) -> None:
    ask_elastic(elastic_server)


@pytest.mark.parametrize("service", ["kafka", "elasticsearch"])
def test_nothing_listens_and_nothing_lies_about_afterwards(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    with noida.running(service, tmp_path / "log") as address:
        host, _, port = address.partition(":")
    with pytest.raises(OSError, match="refused"), socket.create_connection((host, int(port)), timeout=1):
        pass
    assert list(Path.cwd().iterdir()) == []
    assert (tmp_path / "log").read_text()


def test_a_server_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="Its log"),
        noida.running("cassandra", tmp_path / "log"),
    ):
        pass


def test_a_server_that_never_answers_is_an_error() -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("refused")

    with pytest.raises(RuntimeError, match="did not answer within 0 s: refused"):
        wait_until_answers(refuse, alive=lambda: True, what="it", seconds=0.1)
    with pytest.raises(RuntimeError, match="ended before it answered"):
        wait_until_answers(refuse, alive=lambda: False, what="it", seconds=10)


def test_a_port_that_accepts_and_says_nothing_is_no_kafka() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        connection = socket.create_connection(("127.0.0.1", port))
        accepted, _ = deaf.accept()
        accepted.close()
        connection.close()
        with pytest.raises(TimeoutError):
            ask_kafka("127.0.0.1", port)


def test_a_red_cluster_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_args, **_kwargs: io.BytesIO(b'{"status": "red"}'))
    with pytest.raises(OSError, match="red"):
        ask_elastic("http://127.0.0.1:1")
