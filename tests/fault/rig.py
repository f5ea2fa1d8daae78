"""A pipeline of real processes on Kafka and Elasticsearch, behind proxies that can make both fail.

The rig serves the news, starts a process per role, restarts those that end (as systemd or Kubernetes would), lets time
go on step by step, and in the end looks at what the servers hold with clients that are not the product's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from elastic_proxy import ElasticProxy
from kafka_proxy import KafkaProxy
from servers.postgres import Place
from steps import RATE, START, STEP, STEPS, ClockFile, StepWorld, sources

from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_topics import apply_topics, delete_topics
from monitor.core.clock import SystemClock
from monitor.core.codec import incident_from_dict
from monitor.core.ports import StateStore
from monitor.core.types import Incident, Record
from monitor.db.directory import DataDirectory
from monitor.state.postgres import PostgresState
from monitor.state.sqlite import SqliteState
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_template import apply as apply_template

CHILD = Path(__file__).with_name("child_role.py")
CLIENT = Path(__file__).with_name("kafka_one.py")
ROLES = {"ingest": ("ingest",), "score": ("score",), "detect": ("detect", "notify")}
SLACK = 2
"""So many steps after it was printed an article must have reached the detector, or time does not go on."""
PARTITIONS = 4
LEASE = 8
"""Seconds; a crowded machine must be able to renew it."""
SETTLE = 0.5
"""Seconds after which the tail gives what has arrived; less than the product's, so that it has to find more of what
comes late."""
PATIENCE = 150.0
"""Seconds without any progress after which a run has failed."""

_VOLATILE = frozenset({"arrival", "arrival_check", "fetched_at", "scored_at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the test servers are."""

    kafka: str
    elastic: str
    postgres: Place | None = None


@dataclass(slots=True)
class Worker:
    """One process of a role, and those that took its place."""

    name: str
    roles: tuple[str, ...]
    plan: dict[str, Any]
    clock: ClockFile
    process: asyncio.subprocess.Process | None = None
    status: dict[str, Any] = field(default_factory=dict)
    deaths: list[int] = field(default_factory=list)
    """Exit codes of those that ended by themselves or were killed."""
    wanted: bool = True
    task: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    offset: float = 0.0
    failed_starts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left behind."""

    stored: Mapping[str, Mapping[str, Any]]
    """Documents by id, without what depends on when they were read."""
    incidents: Mapping[str, Any]
    posts: Mapping[str, int]
    """First messages by incident."""


class Rig:
    """See the module."""

    def __init__(
        self, folder: Path, servers: Servers, *, postgres: bool = False, rejects: bool = False, twice: bool = False
    ) -> None:
        self.folder, self._kafka, self._elastic = folder, servers.kafka, servers.elastic
        self._place = servers.postgres if postgres else None
        self._twice = twice
        self.run = uuid.uuid4().hex[:10]
        self.world = StepWorld(rejects=rejects)
        self.broker = KafkaProxy(servers.kafka)
        self.store = ElasticProxy(servers.elastic)
        self.workers: dict[str, Worker] = {}
        self.step = -1
        self.garbage = 0
        """Records that are no article, published by :meth:`publish_garbage`."""
        self._fed = folder / "fed.txt"
        self.record_count = self.letter_count = 0
        """What the topics held in the end, letters once each."""

    # -- configuration ---------------------------------------------------------------------------------------------

    @property
    def kafka_config(self) -> KafkaConfig:
        """The broker itself, not its proxy."""
        return KafkaConfig(
            bootstrap=tuple(self._kafka.split(",")), topic_prefix=f"fault-{self.run}.", partitions=PARTITIONS,
            replication=1, min_insync=1,
        )  # fmt: skip

    @property
    def elastic_config(self) -> ElasticConfig:
        """The cluster itself, not its proxy."""
        return ElasticConfig(urls=(self._elastic,), prefix=f"fault-{self.run}", replicas=0, refresh_seconds=0.1)

    def settings(self, name: str, roles: Sequence[str]) -> dict[str, Any]:
        """The configuration of one process."""
        return {
            "data_dir": str(self.data(name)),
            "bus": {"kind": "kafka"},
            "kafka": {
                "bootstrap": [self.broker.address], "topic_prefix": f"fault-{self.run}.", "replication": 1,
                "min_insync": 1, "partitions": PARTITIONS, "timeout": 10, "session_timeout": 6,
            },
            "store": {"kind": "elastic"},
            "elastic": {
                "urls": [self.store.url], "prefix": f"fault-{self.run}", "replicas": 0, "refresh_seconds": 0.1,
                "timeout": 10, "bulk_items": 50,
            },
            "state": self._state_section(),
            "scale": {"instance": name, "lease_seconds": LEASE},
            "ingest": {
                "per_host_concurrent": 8, "per_host_spacing": 0, "spread": 0, "allow_networks": ["127.0.0.0/8"],
                "backoff_base": 0.3 * RATE, "backoff_cap": 0.3 * RATE,
            },
            "detect": {"tick": 0.2 * RATE},
            "notify": {"interval": 0.2 * RATE},
            "observe": {"listen": ""},
            "sources": sources(self.world.base) if "ingest" in roles else [],
            "notifiers": [
                {"kind": "slack", "channel": "C1", "token": "xoxb-test", "base_url": f"{self.world.base}/api/"}
            ],
        }  # fmt: skip

    def data(self, name: str) -> Path:
        """The folder of a process' own."""
        return self.folder / "data" / name

    def _state_section(self) -> dict[str, Any]:
        if self._place is None:
            return {}
        if self._place.password is None:
            return {"url": self._place.url}
        file = self.folder / "password"
        file.write_text(self._place.password)
        file.chmod(0o600)
        return {"url": self._place.url, "password_file": str(file)}

    # -- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Rig:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._fed.touch()
        await self.world.__aenter__()
        await self.broker.__aenter__()
        await self.store.__aenter__()
        await asyncio.to_thread(apply_topics, self.kafka_config)
        await apply_template(self.elastic_config)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(self._end(worker, signal.SIGKILL) for worker in self.workers.values()))
        for worker in self.workers.values():
            worker.clock.close()
        await self.world.__aexit__()
        await self.broker.__aexit__()
        await self.store.__aexit__()
        config = self.kafka_config
        await asyncio.to_thread(delete_topics, config, [config.name("articles"), config.name("dead-letters")])
        async with aiohttp.ClientSession() as session:
            for name in await self._indices(session):
                (await session.delete(f"{self._elastic}/{name}")).release()
            (await session.delete(f"{self._elastic}/_index_template/{self.elastic_config.alias}")).release()

    def start(self, name: str, roles: Sequence[str] = (), *, die: tuple[str, int] | None = None) -> Worker:
        """Starts a process and keeps it running: when it ends, another takes its place."""
        chosen = tuple(roles) or ROLES[name]
        clock = ClockFile(self.folder / f"{name}.clock")
        plan = {
            "roles": chosen, "settings": self.settings(name, chosen), "clock": str(clock.path), "fed": str(self._fed),
            "die": die, "twice": self._twice, "settle": SETTLE, "schema": self._place.schema if self._place else "",
        }  # fmt: skip
        worker = Worker(name=name, roles=chosen, plan=plan, clock=clock)
        clock.write(self._moment, 0.0)
        self.workers[name] = worker
        worker.task = asyncio.create_task(self._keep(worker))
        return worker

    async def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends a process for good, by default gracefully; returns its exit code."""
        worker = self.workers.pop(name)
        code = await self._end(worker, how)
        worker.clock.close()
        return code

    async def _end(self, worker: Worker, how: signal.Signals) -> int:
        worker.wanted = False
        process = worker.process
        if process is not None and process.returncode is None:
            process.send_signal(how)
        if worker.task is not None:
            try:
                async with asyncio.timeout(30):
                    await asyncio.shield(worker.task)
            except TimeoutError:
                if process is not None:
                    process.kill()
                await worker.task
        return process.returncode if process is not None and process.returncode is not None else -1

    async def _keep(self, worker: Worker) -> None:
        log = (self.folder / f"{worker.name}.log").open("ab")
        try:
            while worker.wanted:
                path = self.folder / f"{worker.name}.json"
                path.write_text(json.dumps(worker.plan))
                worker.process = process = await asyncio.create_subprocess_exec(
                    sys.executable, str(CHILD), str(path), stdout=asyncio.subprocess.PIPE, stderr=log, limit=2**20
                )
                assert process.stdout is not None
                while line := await process.stdout.readline():
                    if line.startswith(b"STATUS "):
                        worker.status = json.loads(line[7:])
                        worker.ready.set()
                    else:
                        log.write(line)
                        log.flush()
                code = await process.wait()
                worker.failed_starts = 0 if worker.ready.is_set() else worker.failed_starts + 1
                worker.status = {}
                worker.ready.clear()
                worker.plan["die"] = None  # the next one lives
                if worker.wanted:
                    worker.deaths.append(code)
                    await asyncio.sleep(0.3)  # as a supervisor waits between two starts
        finally:
            log.close()

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def _moment(self) -> datetime:
        return START + max(0, self.step) * STEP

    def set_offset(self, name: str, seconds: float) -> None:
        """Makes one process' clock wrong."""
        worker = self.workers[name]
        worker.offset = seconds
        _, since, _ = worker.clock.read()
        worker.clock.write(self._moment, seconds, since=since)

    def begin(self, step: int) -> None:
        """The next step: the feeds print more, everybody's clock shows the time of the step."""
        self.step = step
        self.world.moment = self._moment
        for worker in self.workers.values():
            worker.clock.write(self._moment, worker.offset)

    def fed(self) -> set[str]:
        """Titles that the detector was given."""
        return set(self._fed.read_text().splitlines())

    async def complete(self, *, slack: int = SLACK) -> None:
        """Waits until all sources were polled in this step, what was printed ``slack`` steps ago has reached the
        detector, and the detector has closed what it can since. Fails when nothing moves for long."""
        required = set(self.world.printed(self._moment - slack * STEP).values())
        await self._until(self._polled, "polls")
        await self._until(lambda: required <= self.fed(), "articles")
        seen = self._moment + timedelta(seconds=time.monotonic() - self._since)
        await self._until(lambda: self._watched(seen), "detector")

    @property
    def _since(self) -> float:
        return next(iter(self.workers.values())).clock.read()[1]

    def _polled(self) -> bool:
        ingest = [w for w in self.workers.values() if "ingest" in w.roles]
        return all(w.status.get("polled") == (self._moment + timedelta(seconds=w.offset)).isoformat() for w in ingest)

    def _watched(self, moment: datetime) -> bool:
        marks = [
            datetime.fromisoformat(w.status["watermark"]) - timedelta(seconds=w.offset)
            for w in self.workers.values()
            if "detect" in w.roles and w.status.get("watermark")
        ]
        return any(mark > moment for mark in marks)

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        last, deadline = "", time.monotonic() + PATIENCE
        while not true():
            state = json.dumps([self.step, len(self.fed()), [(w.status, len(w.deaths)) for w in self.workers.values()]])
            if state != last:
                last, deadline = state, time.monotonic() + PATIENCE
            hopeless = [w.name for w in self.workers.values() if w.failed_starts > 30]
            assert not hopeless, f"{hopeless} do not start; logs in {self.folder}"
            if time.monotonic() > deadline:
                missing = set(self.world.printed(self._moment - SLACK * STEP).values()) - self.fed()
                raise AssertionError(
                    f"step {self.step} does not get on ({what}): {last}; missing {sorted(missing)[:5]} "
                    f"of {len(missing)}; logs in {self.folder}"
                )
            await asyncio.sleep(0.02)

    async def drive(self, until: int = STEPS, *, at: Mapping[int, Callable[[], Awaitable[None]]] | None = None) -> None:
        """Lets time go on up to step ``until``; ``at`` does something in the middle of a step, before its end."""
        for step in range(self.step + 1, until):
            self.begin(step)
            if at and step in at:
                await at[step]()
            await self.complete()

    async def finish(self) -> None:
        """Everything to the end: no slack, nothing left on the bus, nothing left to tell; then all stop."""
        await self.complete(slack=0)
        async with self.bus() as bus:
            await self._until_async(lambda: self._drained(bus), "bus")
        await self._until_async(self._told, "outbox")
        codes = {name: await self.stop(name) for name in tuple(self.workers)}
        assert set(codes.values()) == {0}, f"exit codes {codes}; logs in {self.folder}"

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[KafkaBus]:
        """The bus, past the proxy."""
        bus = await KafkaBus.open(self.kafka_config, clock=SystemClock())
        try:
            yield bus
        finally:
            await bus.close()

    async def _drained(self, bus: KafkaBus) -> bool:
        return (await bus.lag("articles", "score")).count == 0

    async def _told(self) -> bool:
        async with self.state() as state:
            return not await state.list("outbox")

    async def _until_async(self, true: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await true():
            assert time.monotonic() < deadline, f"not done: {what}; logs in {self.folder}"
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def state(self) -> AsyncIterator[StateStore]:
        """The state of the detector, as an operator's command reads it beside the daemon."""
        if self._place is not None:
            place = self._place
            shared = await PostgresState.open(place.url, password=place.password, schema=place.schema, guest=True)
            try:
                yield shared
            finally:
                await shared.close()
            return
        name = next((w.name for w in self.workers.values() if "detect" in w.roles), "detect")
        with DataDirectory.open(self.data(name), mode="guest") as directory:
            own = await SqliteState.open(directory)
            try:
                yield own
            finally:
                await own.close()

    # -- what is there in the end ----------------------------------------------------------------------------------

    async def publish_garbage(self) -> None:
        """Puts records on the bus that are no articles: bytes, JSON of something else, an unknown major version."""
        values = (b"\xff\xfe not json", b'{"a": 1}', b'{"version": 99, "article": {}}')
        async with self.bus() as bus:
            await bus.publish(
                "articles",
                [Record(key=f"garbage-{n}", value=value, timestamp=self._moment) for n, value in enumerate(values)],
            )
        self.garbage += len(values)

    def report(self, outcome: Outcome, deaths: Mapping[str, Sequence[int]], seconds: float) -> None:
        """Writes what was observed as a line of JSON to the file that RISKWIRE_FAULT_REPORT names, if it does."""
        if not (path := os.environ.get("RISKWIRE_FAULT_REPORT")):
            return
        line = {
            "test": os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0],
            "seconds": round(seconds, 1),
            "ended": {name: list(codes) for name, codes in deaths.items() if codes},
            "answers": {str(status): count for status, count in sorted(self.store.statuses.items())},
            "bulk items": {str(status): count for status, count in sorted(self.store.bulk_items.items())},
            "sent more than once": sum(1 for count in self.store.sent.values() if count > 1),
            "records": self.record_count,
            "swallowed": dict(self.broker.swallowed),
            "sessions ended": len(self.broker.expelled),
            "stored": len(outcome.stored),
            "dead letters": self.letter_count,
            "incidents": len(outcome.incidents),
            "messages": sum(outcome.posts.values()),
        }
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def _indices(self, session: aiohttp.ClientSession) -> list[str]:
        async with session.get(f"{self._elastic}/_cat/indices/{self.elastic_config.pattern}?format=json") as answer:
            return [row["index"] for row in await answer.json()] if answer.status == 200 else []

    async def documents(self) -> list[dict[str, Any]]:
        """Every document of every month's index, as plain HTTP gives them."""
        found: list[dict[str, Any]] = []
        async with aiohttp.ClientSession() as session:
            for index in await self._indices(session):
                (await session.post(f"{self._elastic}/{index}/_refresh")).release()
                async with session.get(f"{self._elastic}/{index}/_search?size=10000") as answer:
                    found += (await answer.json())["hits"]["hits"]
        return found

    async def records(self, topic: str) -> list[dict[str, Any]]:
        """Every record of a topic, read by a plain consumer in a process of its own."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", str(CLIENT), "dump", self._kafka, self.kafka_config.name(topic), "2",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await child.communicate()
        assert child.returncode == 0
        found = [json.loads(line) for line in out.splitlines()]
        for record in found:
            record["value"] = base64.b64decode(record["value"])
        return found

    async def outcome(self) -> Outcome:
        """What is left of the run, after checking that every article is stored exactly once, none is missing, and
        every unstorable record is among the dead letters once, with its reason."""
        documents = await self.documents()
        ids = Counter(document["_id"] for document in documents)
        assert [i for i, count in ids.items() if count > 1] == []
        stored = {
            d["_id"]: {k: self._steady(v) for k, v in d["_source"].items() if k not in _VOLATILE} for d in documents
        }
        titles = Counter((d["source"], d["title"]) for d in stored.values())
        expected = {
            (feed, item.title)
            for feed, items in self.world.items.items()
            for item in items
            if item.title not in self.world.unstorable().values()
        }
        assert set(titles) == expected
        assert set(titles.values()) == {1}
        await self._check_dead_letters()
        async with self.state() as state:
            assert await state.list("outbox") == []
            assert await state.list("undelivered") == []
            incidents = [incident_from_dict(document) for _, document in await state.list("incident")]
        assert any("HSBC" in story.title for incident in incidents for story in incident.evidence)
        return Outcome(stored=stored, incidents={i.id: identity(i) for i in incidents}, posts=dict(self.world.posts))

    def _steady(self, value: Any) -> Any:
        """The feeds are at another port in every run."""
        return value.replace(self.world.base, "http://feeds") if isinstance(value, str) else value

    async def _check_dead_letters(self) -> None:
        articles = {f"articles/{r['partition']}/{r['offset']}": r for r in await self.records("articles")}
        bad = {origin for origin, r in articles.items() if r["key"].startswith("garbage") or _title(r).startswith(_BAD)}
        self.record_count = len(articles)
        letters: dict[str, dict[str, Any]] = {}
        for letter in await self.records("dead-letters"):
            letters[letter["headers"]["origin"]] = letter  # a crash repeats a letter; its origin makes it one again
        self.letter_count = len(letters)
        assert set(letters) == bad
        for origin, letter in letters.items():
            assert letter["value"] == articles[origin]["value"]
            assert letter["headers"]["origin_key"] == articles[origin]["key"]
            reason = letter["headers"]["reason"]
            title = _title(letter)
            wanted = "poison" if title.startswith("poison") else "unmappable" if title.startswith("unmapp") else ""
            assert reason
            assert (wanted or "") in reason, (title, reason)
        told = {_title(letter) for letter in letters.values()}
        assert told >= set(self.world.unstorable().values())
        assert sum(1 for r in articles.values() if r["key"].startswith("garbage")) == self.garbage


_BAD = ("poison", "unmappable")


def _title(record: Mapping[str, Any]) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        body = json.loads(record["value"])
        article = body.get("article", body)
        return str(article.get("title", ""))
    return ""


def identity(incident: Incident) -> dict[str, Any]:
    """Everything of an incident that does not depend on the order of arrival within a step."""
    return {
        "key": str(incident.key),
        "kind": incident.kind,
        "state": incident.state.value,
        "severity": incident.severity.value,
        "opened": incident.opened_at,
        "updated": incident.updated_at,
        "resolved": incident.resolved_at,
        "observed": round(incident.observed, 6),
        "expected": round(incident.expected, 6),
        "p": incident.p_value,
        "q": incident.q_value,
        "stories": incident.stories,
        "articles": tuple(sorted(incident.articles)),
        "sources": tuple(sorted(incident.sources)),
        "entities": tuple(sorted(incident.entities)),
        "revision": incident.revision,
        "reason": incident.reason,
        "evidence": tuple(sorted(item.title for item in incident.evidence)),
    }
