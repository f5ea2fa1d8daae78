"""noida-db: one small program that speaks Kafka and Elasticsearch, for machines without Docker.

It is started with one protocol a process, on a free loopback port, with its data in a folder of its own outside the
repository. Its log stays in pytest's temporary folder, its data goes with the process.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from servers.waiting import ask_elastic, ask_kafka, free_port, wait_until_answers

_ATTEMPTS = 3
"""The port may be taken between finding it and binding it."""


def _program() -> list[str]:
    program = Path(str(files("noida_db") / "noida-db"))  # itself, not its Python wrapper: a kill must reach it
    if not program.stat().st_mode & 0o100:
        program.chmod(0o755)
    # Where setpriv (util-linux) exists, the kernel ends the server even when pytest itself is killed.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", str(program)] if setpriv else [str(program)]


def _begin(service: str, port: int, data: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [*_program(), "start", "--only", service, f"--{service}-port", str(port), "--data-dir", str(data)]
    with log.open("ab") as out:
        # A folder of its own as working directory: whatever it may write beside its data is not in the repository.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=data)


@contextmanager
def running(service: str, log: Path) -> Iterator[str]:
    """Runs ``kafka`` or ``elasticsearch``; gives 'host:port'. Raises RuntimeError with its log."""
    last: RuntimeError | None = None
    for _ in range(_ATTEMPTS):
        data, port = Path(tempfile.mkdtemp(prefix=f"riskwire-{service}-")), free_port()
        process = _begin(service, port, data, log)

        def ask(port: int = port) -> None:
            if service == "kafka":
                ask_kafka("127.0.0.1", port)
            else:
                ask_elastic(f"http://127.0.0.1:{port}")

        def alive(process: subprocess.Popen[bytes] = process) -> bool:
            return process.poll() is None

        try:
            try:
                wait_until_answers(ask, alive=alive, what=f"noida-db ({service})", seconds=30)
            except RuntimeError as error:
                last = RuntimeError(f"{error}. Its log, {log}, ends:\n{log.read_text(errors='replace')[-2000:]}")
                continue
            yield f"127.0.0.1:{port}"
            return
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(data, ignore_errors=True)
    assert last is not None
    raise last
