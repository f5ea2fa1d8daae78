"""``riskwire replay`` and ``riskwire backtest`` over an archive that came scored: both find the planted surge."""

from __future__ import annotations

import csv
import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e_tools import command, needs_model

pytestmark = needs_model()

START = datetime(2026, 3, 2, tzinfo=UTC)
SURGE = START + timedelta(days=6, hours=13)
_WORDS = (
    [
        "lender",
        "insurer",
        "carmaker",
        "miner",
        "retailer",
        "airline",
        "utility",
        "brewer",
        "chipmaker",
        "builder",
        "broker",
        "shipper",
        "grocer",
        "studio",
    ],
    [
        "opens",
        "reviews",
        "renews",
        "extends",
        "publishes",
        "presents",
        "discusses",
        "confirms",
        "updates",
        "signs",
        "weighs",
        "plans",
    ],
    [
        "office",
        "deal",
        "report",
        "rules",
        "terms",
        "lease",
        "order",
        "plant",
        "fleet",
        "forecast",
        "contract",
        "store",
        "warehouse",
    ],
    [
        "Leeds",
        "Osaka",
        "Lyon",
        "Lima",
        "Perth",
        "Oslo",
        "Turin",
        "Quito",
        "Accra",
        "Hanoi",
        "Tampa",
        "Delhi",
        "Porto",
        "Cairo",
        "Gdansk",
    ],
)


def rows() -> list[dict[str, object]]:
    dice = random.Random(3)
    made: list[dict[str, object]] = []

    def add(at: datetime, negative: float, topic: str) -> None:
        title = " ".join(dice.choice(words) for words in _WORDS) + f" {len(made)}"
        rest = (1 - negative) / 2
        made.append(
            {
                "id": f"r{len(made)}",
                "source": f"wire-{dice.randrange(4)}",
                "title": title,
                "published_at": at.isoformat(),
                "topics": {topic: 1.0},
                "sentiments": {"negative": negative, "neutral": rest, "positive": rest},
                "model": "given",
            }
        )

    at = START
    while (at := at + timedelta(minutes=dice.expovariate(1 / 12))) < START + timedelta(days=7):
        add(at, dice.choice([0.02, 0.05, 0.1, 0.6]), dice.choice(["macro", "earnings", "fed_central_banks"]))
    for number in range(20):
        add(SURGE + timedelta(minutes=2 * number), 0.95, "fed_central_banks")
    return sorted(made, key=lambda row: str(row["published_at"]))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "news.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows())
    return path


async def test_a_replay_and_a_backtest_find_the_same_surge(tmp_path: Path, archive: Path) -> None:
    replayed = await command("replay", str(archive), cwd=tmp_path)
    assert replayed.code == 0, replayed.err
    assert "topic:fed_central_banks" in replayed.out
    tested = await command("backtest", str(archive), "--out", "report", cwd=tmp_path)
    assert tested.code == 0, tested.err
    lines = (tmp_path / "report" / "incidents.jsonl").read_text(encoding="utf-8").splitlines()
    incidents = [json.loads(line) for line in lines]
    (found,) = [i for i in incidents if i["value"] == "fed_central_banks" and i["opened_at"] >= SURGE.isoformat()[:10]]
    assert set(found) == {
        "id", "scope", "value", "opened_at", "resolved_at", "severity", "observed", "expected", "p_value", "q_value",
        "stories", "articles", "sources",
    }  # fmt: skip
    opened = datetime.fromisoformat(found["opened_at"])
    assert SURGE < opened <= SURGE + timedelta(minutes=35)
    assert f"{opened:%Y-%m-%d}" in replayed.out
    with gzip.open(tmp_path / "report" / "series.csv.gz", "rt", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert header == ["start", "scope", "value", "stories", "articles", "expected_negatives", "expected"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


async def test_a_backtest_is_the_same_to_the_last_byte(tmp_path: Path, archive: Path) -> None:
    for folder in ("one", "two"):
        assert (await command("backtest", str(archive), "--out", folder, cwd=tmp_path)).code == 0
    for name in ("incidents.jsonl", "series.csv.gz", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


async def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("colour,size\nred,3\n", encoding="utf-8")
    for words in (("replay", "x.csv"), ("backtest", "x.csv", "--out", "o"), ("replay", "missing.csv")):
        result = await command(*words, cwd=tmp_path)
        assert result.code == 2, words
        assert words[1] in result.err
    assert (await command("replay", "x.csv", "--speed", "fast", cwd=tmp_path)).code == 2
