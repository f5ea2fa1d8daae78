"""The child's side of :mod:`connectors.workers`: ``python -m connectors.worker_main MEMORY_BYTES``."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO

from connectors.workers import ANSWER, HEAD
from monitor.core.errors import SourceError


def _function(name: str) -> Callable[[bytes, dict[str, Any]], Any]:
    module, _, attribute = name.partition(":")
    if not module.startswith("connectors."):
        raise ValueError(f"{name} is not a function of the connectors")
    found: Callable[[bytes, dict[str, Any]], Any] = getattr(import_module(module), attribute)
    return found


def _answer(head: bytes, payload: bytes) -> dict[str, Any]:
    request = json.loads(head)
    try:
        return {"ok": _function(request["function"])(payload, request["args"])}
    except SourceError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "code": error.code}
    except MemoryError:
        return {
            "error": "TooLargeError",
            "message": f"reading {len(payload)} bytes needs more memory than allowed.",
            "hint": "",
            "code": "too_large",
        }
    except Exception as error:  # noqa: BLE001 - parsers of foreign input fail in any way; the reason goes to the caller
        return {
            "error": "MalformedError",
            "message": f"the parser failed with {type(error).__name__}: {str(error)[:200]}.",
            "hint": "",
            "code": "parse_crash",
        }


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answers requests until the input ends, which it does when the parent goes away."""
    while len(prefix := stdin.read(HEAD.size)) == HEAD.size:
        head_size, payload_size = HEAD.unpack(prefix)
        head, payload = stdin.read(head_size), stdin.read(payload_size)
        if len(payload) < payload_size:
            return
        body = json.dumps(_answer(head, payload)).encode()
        stdout.write(ANSWER.pack(len(body)))
        stdout.write(body)
        stdout.flush()


def main() -> None:
    """Limits this process and serves its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a parser that prints must not disturb the frames
    serve(requests, answers)


if __name__ == "__main__":
    main()
