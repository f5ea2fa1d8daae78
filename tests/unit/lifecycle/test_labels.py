"""Labels: chosen, exported in three formats, filled in, read back; every bad row named, nothing half imported."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from doubles import article
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.errors import TrainError
from monitor.core.types import Scored, ScoredArticle, Scores
from monitor.model.artefact import Artefact
from monitor.train.lifecycle.formats import read, write
from monitor.train.lifecycle.formats.sheet import COLUMNS, guarded, unguarded
from monitor.train.lifecycle.labels import HELD, Label, append, decide, is_held, read_labels, stats
from monitor.train.lifecycle.pool import RANDOM, READER, RESCORED, STORY, UNCERTAIN, Candidate, Quota, choose

NOW = "2026-03-02T09:00:00Z"


def candidate(number: int, title: str = "", *, top: float = 0.9, mood: str = "negative", **fields: Any) -> Candidate:
    rest = (1 - top) / 2
    topics = {"earnings": top, "energy_oil": rest, "fed_central_banks": rest}
    moods = {name: top if name == mood else rest for name in ("negative", "neutral", "positive")}
    scores = Scores(topics=topics, sentiments=moods)
    item = article(number, title=title or f"Headline number {number} of the day", **fields)
    scored = Scored(article_id=item.id, model="m@1", scores=scores, scored_at=item.fetched_at)
    return Candidate(
        item=ScoredArticle(article=item, scored=scored), text=item.title, scores=scores, model="m@1", reason=UNCERTAIN
    )


def reasons(chosen: Sequence[Candidate]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in chosen:
        found.setdefault(item.reason, []).append(item.item.article.id)
    return found


def test_the_least_sure_come_first_and_the_sure_not_at_all() -> None:
    pool = [candidate(n, top=0.9 - n / 100) for n in range(50)]
    chosen = choose(pool, quota=Quota(limit=10, random=0.0))
    assert [item.item.article.id for item in chosen] == [f"a{n:05d}" for n in range(49, 39, -1)]
    assert len(choose(pool, quota=Quota(limit=1000, random=0.0))) == sum(0.9 - n / 100 < 0.6 for n in range(50))


def test_copies_of_a_story_with_different_verdicts_are_disputed() -> None:
    pool = [candidate(1, "Acme sinks"), candidate(2, "Acme sinks, says Reuters", mood="neutral"), candidate(3, "Fed")]
    stories = {"a00001": "s", "a00002": "s", "a00003": "t"}
    chosen = choose(pool, quota=Quota(random=0.0), story_of=lambda item: stories[item.article.id])
    assert reasons(chosen) == {STORY: ["a00001", "a00002"]}


def test_a_verdict_that_another_model_does_not_share_is_disputed() -> None:
    old, new = candidate(1), candidate(1, mood="positive")
    chosen = choose([Candidate(item=old.item, text=old.text, scores=new.scores, model="n@2")], quota=Quota(random=0.0))
    assert reasons(chosen) == {RESCORED: ["a00001"]}


def test_what_readers_dispute_comes_whatever_the_model_thinks_of_it() -> None:
    pool = [candidate(1, "Acme sinks", top=0.97), candidate(2, "ACME sinks", top=0.97), candidate(3, "Fed", top=0.98)]
    chosen = choose(pool, quota=Quota(random=0.0), readers={"a00002": 2})
    assert reasons(chosen) == {READER: ["a00001"]}  # the same text
    assert choose(pool, quota=Quota(random=0.0)) == []


def test_a_text_is_offered_once_and_not_when_it_is_labelled() -> None:
    pool = [candidate(1, "Acme sinks 5%", top=0.4), candidate(2, "ACME sinks 5% http://x.example/", top=0.4)]
    assert len(choose(pool, quota=Quota(random=0.0))) == 1
    assert choose(pool, quota=Quota(), labelled=frozenset({pool[0].group})) == []


def test_quotas_and_the_random_share() -> None:
    pool = [candidate(n, top=0.5 if n % 2 else 0.95, lang="zh" if n % 4 == 0 else "en") for n in range(200)]
    chosen = choose(pool, quota=Quota(limit=40, random=0.5))
    assert len(chosen) == 40
    assert len(reasons(chosen)[RANDOM]) == 20
    assert [c.item.article.id for c in choose(pool, quota=Quota(limit=40, random=0.5))] == [
        c.item.article.id for c in chosen
    ]
    capped = choose(pool, quota=Quota(limit=40, random=1.0, per_language=7))
    assert sum(item.item.article.lang == "zh" for item in capped) == 7
    assert len(choose(pool, quota=Quota(limit=40, random=0.2, per_topic=5))) == 5


@given(st.text())
def test_a_guarded_cell_is_no_formula_and_comes_back(cell: str) -> None:
    assert not guarded(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(guarded(cell)) == cell or cell.startswith("'")


POOL = [candidate(1, '=HYPERLINK(1) Acme, "quoted"', top=0.5), candidate(2, "江海 公布 会议 日期\u2028二", lang="zh")]


def filled(path: Path, **cells: Sequence[str]) -> None:
    """Fills columns of an exported CSV."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys([*COLUMNS, *cells]))
    for name, values in cells.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def test_csv_out_and_back(light: Artefact, tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    write("csv", path, POOL, light)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert "'=HYPERLINK" in path.read_text("utf-8-sig")
    filled(path, sentiment=["Negative", ""], topic=["Fed and central banks", "美联储与央行"], annotator=["ann", "bo"])
    found = read("csv", path, artefact=light, now=NOW)
    assert [label.text for label in found] == [item.text for item in POOL]
    assert [label.topic for label in found] == ["fed_central_banks", "fed_central_banks"]
    assert [label.sentiment for label in found] == ["negative", ""]
    assert found[0].predicted == {"topic": "earnings", "sentiment": "negative"}
    assert (found[1].annotator, found[1].lang, found[1].model, found[0].reason) == ("bo", "zh", "m@1", UNCERTAIN)


def test_argilla_out_and_back(light: Artefact, tmp_path: Path) -> None:
    files = write("argilla", tmp_path / "set", POOL, light)
    settings, _, records_file = files
    questions = json.loads(settings.read_text("utf-8"))["questions"]
    assert [option["value"] for option in questions[0]["settings"]["options"]] == list(light.tasks["sentiment"].labels)
    records = json.loads(records_file.read_text("utf-8"))
    assert records[0]["suggestions"]["topic"] == {"value": "earnings", "score": 0.5, "agent": "m@1"}
    records[0]["responses"] = {
        "sentiment": [{"value": "neutral", "user_id": "u1"}, {"value": "negative", "user_id": "u2"}],
        "topic": [{"value": "earnings", "user_id": "u1"}, {"value": "earnings", "user_id": "u3", "status": "draft"}],
    }
    records_file.write_text(json.dumps(records), "utf-8")
    found = [label for label in read("argilla", tmp_path / "set", artefact=light, now=NOW) if label.annotator]
    assert [(label.annotator, label.sentiment, label.topic) for label in found] == [
        ("u1", "neutral", "earnings"), ("u2", "negative", ""),
    ]  # fmt: skip
    assert found[0].article_id == "a00001"


def test_labelstudio_out_and_back(light: Artefact, tmp_path: Path) -> None:
    config, tasks_file = write("labelstudio", tmp_path / "ls", POOL, light)
    assert '<Choices name="sentiment" toName="text"' in config.read_text("utf-8")
    tasks = json.loads(tasks_file.read_text("utf-8"))
    assert tasks[0]["predictions"][0]["result"][0]["value"]["choices"] == ["negative"]

    def said(sentiment: str, **more: Any) -> dict[str, Any]:
        value = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [sentiment]}}
        return {"result": [value], "was_cancelled": False, "updated_at": NOW, "completed_by": 7} | more

    tasks[0]["annotations"] = [said("neutral"), said("positive", was_cancelled=True)]
    tasks[1]["annotations"] = [said("negative", completed_by={"id": 8, "email": "bo@x.example"})]
    tasks_file.write_text(json.dumps(tasks), "utf-8")
    found = read("labelstudio", tasks_file, artefact=light, now="later")
    assert [(label.annotator, label.sentiment, label.at) for label in found] == [
        ("7", "neutral", NOW), ("bo@x.example", "negative", NOW),
    ]  # fmt: skip
    assert found[0].predicted == {"topic": "earnings", "sentiment": "negative"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,sentiment\nx,negative\n", "row 1: column 'topic' is missing"),
        (b"text;sentiment;topic\n", "column 'text' is missing"),
        (b"text,sentiment,topic\nx,negativ,\n", "row 2, 'sentiment': unknown label 'negativ'"),
        (b"text,sentiment,topic\nx,negative,\ny,z\n", "row 3: 2 cells, but 3 columns"),
        (b"text,sentiment,topic\n ,negative,\n", "row 2: there is no text"),
        ("text,sentiment,topic\nx,negative,\n中文,negative,\n".encode("gb18030"), "row 3: not UTF-8"),
        ("text,sentiment,topic\n\ufffdx,negative,\n".encode(), "row 2: its text holds"),
        (b'text,sentiment,topic\n"x,negative,\n', "no CSV"),
        (b"", "column 'text' is missing"),
    ],
)
def test_a_bad_csv_is_named_by_row(light: Artefact, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(TrainError, match=message.replace("(", r"\(")):
        read("csv", path, artefact=light, annotator="ann", now=NOW)


def test_a_label_without_an_annotator_is_refused(light: Artefact, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("text,sentiment,topic\nx,negative,\n", "utf-8")
    with pytest.raises(TrainError, match="--annotator"):
        read("csv", path, artefact=light, now=NOW)


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("argilla", "{}", "list of records"),
        ("argilla", "[3, {}]", "record 1: expected an object"),
        ("argilla", "[{}]", "record 1: no 'fields'"),
        ("labelstudio", '[{"text": "x", "sentiment": "negative"}]', "record 1: no 'annotations'"),
        ("labelstudio", "[", "not JSON"),
    ],
)
def test_a_bad_export_is_named_by_record(light: Artefact, tmp_path: Path, form: str, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, "utf-8")
    with pytest.raises(TrainError, match=message):
        read(form, path, artefact=light, annotator="ann", now=NOW)


def label(text: str, sentiment: str = "", who: str = "ann", **more: Any) -> Label:
    return Label(text=text, annotator=who, at=NOW, sentiment=sentiment, origin=f"f, row of {who}", **more)


def test_an_import_twice_is_an_import_once(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    batch = [label("Acme sinks", "negative"), label("Fed meets", "neutral"), label("nothing said")]
    first, again = (append(path, batch, refuse_conflicts=True) for _ in range(2))
    assert (first.added, first.empty, again.added, again.known) == (2, 1, 0, 2)
    revised = append(path, [label("ACME sinks!", "neutral")], refuse_conflicts=True)
    assert (revised.added, revised.revised) == (1, 1)
    assert {item.text: item.labels["sentiment"] for item in decide(read_labels(path))} == {
        "ACME sinks!": "neutral", "Fed meets": "neutral",
    }  # fmt: skip


def test_annotators_who_differ_are_named_and_the_majority_decides(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    batch = [label("Acme sinks", "negative", "ann"), label("Acme sinks", "neutral", "bo")]
    with pytest.raises(TrainError, match="row of ann: ann says negative; f, row of bo: bo says neutral"):
        append(path, batch, refuse_conflicts=True)
    assert not path.exists()
    assert len(append(path, batch, refuse_conflicts=False).conflicts) == 1
    tie = decide(read_labels(path))[0]
    assert (dict(tie.labels), tie.disputed) == ({}, ("sentiment",))
    append(path, [label("Acme sinks", "negative", "cy")], refuse_conflicts=False)
    assert decide(read_labels(path))[0].labels == {"sentiment": "negative"}
    with pytest.raises(TrainError, match="same annotator"):
        append(path, [label("New", "negative"), label("new", "neutral")], refuse_conflicts=False)


def test_stats_say_how_often_the_model_was_right_and_annotators_agree() -> None:
    seen = {"sentiment": "negative"}
    labels = [
        label("a", "negative", predicted=seen, reason="random"),
        label("b", "neutral", predicted=seen, reason="uncertain"),
        label("a", "negative", "bo", predicted=seen, reason="random"),
        label("b", "negative", "bo", predicted=seen, reason="uncertain"),
    ]
    found = stats(labels)
    assert found["tasks"]["sentiment"]["model_was_right"] == {
        "all": {"right": 3, "n": 4}, "random": {"right": 2, "n": 2},
    }  # fmt: skip
    pair = found["tasks"]["sentiment"]["agreement"][0]
    assert (pair["agreement"], pair["kappa"]) == (0.5, 0.0)
    assert found["disputed"] == 1
    assert stats([])["labels"] == 0


def test_a_broken_line_is_named_and_a_cut_one_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append(path, [label("Acme sinks", "negative")], refuse_conflicts=True)
    path.write_bytes(path.read_bytes()[:-1])
    append(path, [label("Fed meets", "neutral")], refuse_conflicts=True)
    assert len(read_labels(path)) == 2
    path.write_text("{}\n", "utf-8")
    with pytest.raises(TrainError, match="line 1"):
        read_labels(path)


def test_the_held_out_part_is_about_its_share_and_stays() -> None:
    held = [is_held(f"text {number}") for number in range(2000)]
    assert abs(sum(held) / len(held) - HELD) < 0.05
    assert held == [is_held(f"text {number}") for number in range(2000)]
