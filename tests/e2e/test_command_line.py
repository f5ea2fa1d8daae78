"""The command line as a user meets it: formats, exit codes, messages that say what to do."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from e2e_tools import command, needs_model

from monitor.app import open_storage
from monitor.config import Settings
from monitor.core.clock import SystemClock
from monitor.core.types import Delivery, Record
from monitor.obs.metrics import Metrics
from monitor.services.dead_letters import DeadLetters
from monitor.services.topics import ARTICLES

pytestmark = pytest.mark.usefixtures("no_api")


async def test_init_writes_a_configuration_once(tmp_path: Path) -> None:
    first = await command("init", cwd=tmp_path)
    again = await command("init", cwd=tmp_path)
    forced = await command("init", "--force", cwd=tmp_path)
    assert (first.code, again.code, forced.code) == (0, 2, 0)
    assert "exists already" in again.err
    shown = await command("config", "show", cwd=tmp_path)
    assert json.loads(shown.out)["sources"][0]["name"] == "fed-press"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ingest]\ndefault_intervall = 3\n", "Did you mean 'ingest.default_interval'?"),
        ("[[sources]]\nname = 'x'\nkind = 'fed'\n", "Did you mean 'feed'?"),
        ("[[sources]]\nname = 'x'\nurl = 'http://x.example/'\nintervall = 3\n", "interval"),
        ("[[sources]]\nname = 'x'\n", "url"),
        ("[[sources]]\nname='x'\nurl='http://x.example/'\n[[notifiers]]\nkind = 'slak'\n", "slak"),
        ("[[sources]]\nname='x'\nurl='http://x.example/'\n[model]\npath = 'nowhere'\n", "nowhere"),
        ("[[sources]]\nname='x'\nurl='http://x.example/'\n[entities]\nwatchlists = ['no.csv']\n", "no.csv"),
        ("", "No sources are configured"),
    ],
)
async def test_a_wrong_configuration_stops_the_daemon_before_it_starts(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "riskwire.toml").write_text(text + "\n[observe]\nlisten = ''\n", encoding="utf-8")
    result = await command("run", cwd=tmp_path)
    assert result.code in (1, 2)
    assert message in result.err
    assert "Traceback" not in result.err


async def test_unknown_role_and_missing_file(tmp_path: Path) -> None:
    assert "Roles: ingest, score, detect, notify" in (await command("run", "--role", "cook", cwd=tmp_path)).err
    missing = await command("run", "-c", "none.toml", cwd=tmp_path)
    assert missing.code == 2
    assert "riskwire init" in missing.err


@needs_model()
async def test_score_answers_line_by_line_and_echoes_ids(tmp_path: Path) -> None:
    rows = [
        {
            "id": "x1",
            "source": "s",
            "title": "HSBC shares plunge after fraud probe",
            "published_at": "2026-01-02T03:04:05Z",
        },
        {"source": "s", "title": "央行下调存款准备金率"},
        {"source": "s", "title": "🚀"},
    ]
    result = await command("score", cwd=tmp_path, stdin="".join(json.dumps(row) + "\n" for row in rows))
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert result.code == 0
    assert len(answers) == 3
    first = answers[0]
    assert first["id"] == "x1"
    assert first["sentiment"] == "negative"
    assert abs(sum(first["topics"].values()) - 1) < 1e-3
    assert len(first["topics"]) == 20
    assert abs(sum(first["sentiments"].values()) - 1) < 1e-3
    (entity,) = [e for e in first["entities"] if e["name"] == "HSBC"]
    assert rows[0]["title"][entity["start"] : entity["end"]] == "HSBC"
    assert answers[1]["lang"] == "zh"
    assert "@" in first["model"]


@needs_model()
@pytest.mark.parametrize(
    "title", ["x" * 1_000_000, "a\x00b", "   ", "مرحبا بالعالم", "\u202eevil", "<script>alert(1)</script>"]
)
async def test_score_takes_any_text(tmp_path: Path, title: str) -> None:
    result = await command("score", cwd=tmp_path, stdin=json.dumps({"source": "s", "title": title}) + "\n")
    if title.strip():
        assert result.code == 0, result.err
        assert json.loads(result.out)["sentiment"] in {"negative", "neutral", "positive"}
    else:
        assert result.code == 2
        assert "line 1" in result.err


@needs_model()
async def test_score_names_the_bad_line(tmp_path: Path) -> None:
    result = await command("score", cwd=tmp_path, stdin='{"source":"s","title":"fine"}\nnot json\n')
    assert result.code == 2
    assert "line 2" in result.err


@needs_model()
async def test_rows_that_are_scored_skip_the_model(tmp_path: Path) -> None:
    row = {"title": "x", "source": "s", "topics": {"mine": 1.0}, "sentiments": {"negative": 1.0}, "model": "theirs"}
    result = await command("score", cwd=tmp_path, stdin=json.dumps(row) + "\n")
    assert json.loads(result.out)["topic"] == "mine"
    assert json.loads(result.out)["model"] == "theirs"


async def test_dead_letters_are_listed_shown_and_retried(tmp_path: Path) -> None:
    (tmp_path / "riskwire.toml").write_text("data_dir = 'data'\n", encoding="utf-8")
    clock = SystemClock()
    async with open_storage(Settings(data_dir=tmp_path / "data"), clock) as storage:
        bad = Record(key="k1", value=b"{broken", timestamp=clock.now())
        await storage.bus.publish(ARTICLES, [bad])
        delivery = Delivery(topic=ARTICLES, partition=3, offset=0, record=bad)
        letters = DeadLetters(storage.bus, clock, Metrics())
        await letters.add([(delivery, "This is not JSON.")], stage="score")
        await letters.add([(delivery, "This is not JSON.")], stage="score")
        listed = await command("dlq", "ls", "--json", cwd=tmp_path)  # beside the owner
        (letter,) = [json.loads(line) for line in listed.out.splitlines()]
        assert letter["reason"] == "This is not JSON."
        assert letter["origin"] == "articles/3/0"
        shown = await command("dlq", "show", letter["id"], cwd=tmp_path)
        assert json.loads(shown.out)["value"] == "{broken"
        retried = await command("dlq", "retry", cwd=tmp_path)
        assert "1 record published again" in retried.out
        assert "0 records" in (await command("dlq", "retry", cwd=tmp_path)).out
        assert len(await storage.bus.browse(ARTICLES, limit=10)) == 2
    assert "No dead letters" not in (await command("dlq", "ls", cwd=tmp_path)).out
    assert (await command("dlq", "show", "zzz", cwd=tmp_path)).code == 2


async def test_dlq_without_a_data_folder_says_what_to_do(tmp_path: Path) -> None:
    result = await command("dlq", "ls", cwd=tmp_path)
    assert result.code == 1
    assert "riskwire run" in result.err


async def test_a_damaged_or_newer_database_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "riskwire.toml").write_text(
        "data_dir = 'data'\n[observe]\nlisten = ''\n[[sources]]\nname='x'\nurl='http://x.example/'\n", encoding="utf-8"
    )
    async with open_storage(Settings(data_dir=tmp_path / "data"), SystemClock()):
        pass
    path = tmp_path / "data" / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 999")
    newer = await command("run", cwd=tmp_path)
    assert newer.code == 1
    assert "state.db" in newer.err
    assert "newer" in newer.err
    path.write_bytes(b"this is not a database" * 500)
    damaged = await command("run", cwd=tmp_path)
    assert damaged.code == 1
    assert "state.db" in damaged.err
    assert "Traceback" not in newer.err + damaged.err
    report = await command("doctor", "--offline", cwd=tmp_path)
    assert report.code == 1
    assert "state.db" in report.out
