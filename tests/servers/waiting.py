"""Free ports, and waiting for a server by asking it."""

from __future__ import annotations

import json
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable

START_SECONDS = 120.0
"""How long a server may take to answer first; an image may have to be fetched before."""

_API_VERSIONS = 18


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_answers(ask: Callable[[], None], *, alive: Callable[[], bool], what: str, seconds: float) -> None:
    """Asks until an answer comes. Raises RuntimeError when the server died or did not answer in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask()
        except (OSError, ValueError) as error:  # refused, reset, cut short, not ready yet
            if not alive():
                raise RuntimeError(f"{what} ended before it answered") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not answer within {seconds:.0f} s: {error}") from error
            time.sleep(0.05)  # between two questions, not instead of one
        else:
            return


def ask_kafka(host: str, port: int) -> None:
    """One ApiVersions request (https://kafka.apache.org/protocol#The_Messages_ApiVersions), version 0.

    A connection alone proves nothing: Docker's own proxy accepts it before the broker listens. Raises OSError.
    """
    with socket.create_connection((host, port), timeout=2) as connection:
        request = struct.pack(">hhih", _API_VERSIONS, 0, 1, -1)
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = b""
        while len(answer) < 10:
            chunk = connection.recv(4096)
            if not chunk:
                raise ConnectionResetError("closed before it answered")
            answer += chunk
        _, correlation, error = struct.unpack(">iih", answer[:10])
        if correlation != 1 or error != 0:
            raise ConnectionResetError(f"answered with error {error}")


def ask_elastic(url: str) -> None:
    """The cluster's health, which must not be red. Raises OSError or ValueError."""
    with urllib.request.urlopen(f"{url.rstrip('/')}/_cluster/health", timeout=5) as answer:
        status = json.load(answer)["status"]
    if status not in {"yellow", "green"}:
        raise urllib.error.URLError(f"the cluster is {status}")
