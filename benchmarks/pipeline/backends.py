"""What the pipeline runs on: a configuration file, and the servers it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where one run works. ``prefix`` is its own, so that a server with other data can be used."""

    kind: str
    folder: Path
    prefix: str
    kafka: str = ""
    elastic: str = ""
    servers: str = "none: SQLite in the process"
    pids: dict[str, int] = field(default_factory=dict)
    """Processes of servers that were started for the run, by name."""

    def config(self, name: str) -> Path:
        """Writes the configuration of the process ``name``, with a data folder of its own."""
        path = self.folder / f"{name}.toml"
        lines = [f"data_dir = {json.dumps(str(self.folder / f'data-{name}'))}"]
        if self.kind == "servers":
            lines += [
                "bus.kind = 'kafka'",
                "store.kind = 'elastic'",
                "[kafka]",
                f"bootstrap = {json.dumps(self.kafka.split(','))}",
                f"topic_prefix = {json.dumps(self.prefix + '.')}",
                "replication = 1",
                "min_insync = 1",
                "[elastic]",
                f"urls = {json.dumps(self.elastic.split(','))}",
                f"prefix = {json.dumps(self.prefix)}",
                "replicas = 0",
            ]
        path.write_text("\n".join([*lines, "[observe]", "listen = ''", ""]), encoding="utf-8")
        return path


@contextmanager
def embedded(folder: Path) -> Iterator[Backend]:
    """SQLite."""
    yield Backend(kind="embedded", folder=folder, prefix="pipeline")


@contextmanager
def servers(folder: Path, kafka: str = "", elastic: str = "standin") -> Iterator[Backend]:
    """Kafka and Elasticsearch at the given addresses, or noida-db; topics and templates made, later removed."""
    with ExitStack() as stack:
        pids: dict[str, int] = {}
        names = []
        if not kafka:
            kafka = stack.enter_context(_limiting(stack.enter_context(_noida("kafka", folder, pids)), folder))
        names.append(f"Kafka: {'noida-db behind a proxy that keeps fetch limits' if 'kafka' in pids else kafka}")
        name = elastic
        if elastic in ("noida", "standin"):
            elastic = f"http://{stack.enter_context(_noida('elasticsearch', folder, pids))}"
            if name == "standin":
                elastic = stack.enter_context(_standin(elastic, folder, pids))
        names.append(f"Elasticsearch: {'noida-db' if name == 'noida' else name}")
        backend = Backend(
            kind="servers", folder=folder, prefix=f"bench-{uuid.uuid4().hex[:8]}", kafka=kafka, elastic=elastic,
            servers="; ".join(names), pids=pids,
        )  # fmt: skip
        config = backend.config("setup")
        for command in (("topics", "apply"), ("store", "apply")):
            _riskwire(*command, "-c", str(config))
        stack.callback(_remove, backend)
        yield backend


@contextmanager
def _noida(service: str, folder: Path, pids: dict[str, int]) -> Iterator[str]:
    # The tests know how to start it.
    sys.path.insert(0, str(ROOT / "tests"))
    from servers import noida  # type: ignore[import-not-found,unused-ignore]

    before = {child.pid for child in psutil.Process().children()}
    with noida.running(service, folder / f"{service}.log") as address:
        pids[service] = next(child.pid for child in psutil.Process().children() if child.pid not in before)
        yield address


@contextmanager
def _limiting(upstream: str, folder: Path) -> Iterator[str]:
    from servers import waiting

    port = waiting.free_port()
    command = [sys.executable, str(Path(__file__).with_name("fetch_limits.py")), upstream, str(port)]
    with (folder / "fetch-limits.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    address = f"127.0.0.1:{port}"
    try:
        waiting.wait_until_answers(
            lambda: waiting.ask_kafka("127.0.0.1", port),
            alive=lambda: process.poll() is None,
            what="the proxy",
            seconds=30,
        )
        yield address
    finally:
        process.kill()
        process.wait()


@contextmanager
def _standin(upstream: str, folder: Path, pids: dict[str, int]) -> Iterator[str]:
    from servers import waiting

    port = waiting.free_port()
    command = [
        sys.executable,
        str(Path(__file__).with_name("standin.py")),
        upstream,
        str(port),
        str(folder / "documents"),
    ]
    with (folder / "standin.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        waiting.wait_until_answers(
            lambda: waiting.ask_elastic(url), alive=lambda: process.poll() is None, what="the stand-in", seconds=30
        )
        pids["elasticsearch"] = process.pid
        yield url
    finally:
        process.kill()
        process.wait()


def _riskwire(*arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RISKWIRE_")}
    command = [sys.executable, "-c", "from monitor.cli.main import main; main()", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"riskwire {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def _remove(backend: Backend) -> None:
    """Deletes what the run made on servers that stay."""
    from elasticsearch import Elasticsearch
    from kafka.admin import KafkaAdminClient

    if "kafka" not in backend.pids:
        admin = KafkaAdminClient(bootstrap_servers=backend.kafka.split(","))
        admin.delete_topics([name for name in admin.list_topics() if name.startswith(f"{backend.prefix}.")])
        admin.close()
    if "elasticsearch" not in backend.pids:
        with Elasticsearch(backend.elastic.split(",")) as client:
            indices = [str(name) for name in client.indices.get(index=f"{backend.prefix}*")]
            if indices:
                client.indices.delete(index=indices)
            client.indices.delete_index_template(name=f"{backend.prefix}*", ignore_unavailable=True)  # type: ignore[call-arg]
