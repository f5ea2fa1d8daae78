import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import RECIPE, write_data

from monitor.core.errors import TrainError
from monitor.model.preprocess import group_key
from monitor.train.config import Split, TrainConfig, load_config
from monitor.train.data import check_leakage, load_data, part_of, read_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE, "utf-8")
    return tmp_path


def _config(folder: Path) -> TrainConfig:
    return load_config(folder / "recipe.toml")


def test_every_row_is_in_one_part_and_no_text_in_two(data: Path) -> None:
    parts, report = load_data(_config(data), data)
    assert sum(map(len, parts.values())) == sum(report.kept.values())
    groups = {part: {ex.group for ex in members} for part, members in parts.items()}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["calibration"]
    assert not groups["calibration"] & groups["test"]
    assert report.disagreeing["entities"] == 10  # every sixth row has entities that disagree


def test_copies_with_another_cashtag_link_or_case_stay_together(data: Path) -> None:
    with (data / "topic.csv").open("a", encoding="utf-8") as file:
        for number in range(40):
            file.write(f"${'ABCDEFGHI'[number % 9]}XY Something quite new {number}! https://t.co/x{number},Earnings\n")
    with (data / "sentiment.csv").open("a", encoding="utf-8") as file:
        for number in range(40):
            file.write(f"SOMETHING quite  new {number},neutral\n")
    parts, _ = load_data(_config(data), data)
    home = {ex.group: part for part, members in parts.items() for ex in members}
    for number in range(40):
        group = group_key(f"something quite new {number}")
        members = [(part, ex.source) for part, ms in parts.items() for ex in ms if ex.group == group]
        assert sorted(source for _, source in members) == ["sentiment", "topic"]
        assert {part for part, _ in members} == {home[group]}
    assert {home[group_key(f"something quite new {n}")] for n in range(40)} == {"train", "calibration", "test"}


def test_duplicates_are_dropped_and_conflicts_named(data: Path) -> None:
    with (data / "sentiment.csv").open("a", encoding="utf-8") as file:
        file.write("The very same words,neutral\nThe very same words,neutral\nThe very same words,positive\n")
    parts, report = load_data(_config(data), data)
    kept = [ex for members in parts.values() for ex in members if ex.text == "The very same words"]
    assert [ex.labels["sentiment"] for ex in kept] == [1]
    assert any("sentiment.csv, row 139" in line for line in report.conflicts)


def test_a_row_of_nothing_but_a_link_is_left_out_and_named(data: Path) -> None:
    with (data / "topic.csv").open("a", encoding="utf-8") as file:
        file.write(" https://t.co/abcdef ,Earnings\n")
    _, report = load_data(_config(data), data)
    assert [line for line in report.unreadable if "topic.csv, row 137" in line]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Some text,Sports\n", ["topic.csv", "row 137", "column 'label'", "Sports"]),
        (",Earnings\n", ["topic.csv", "row 137", "column 'text'"]),
        ("Some text\n", ["topic.csv", "row 137", "column 'label' is missing"]),
        ("Some, text,Earnings\n", ["topic.csv", "row 137", "more cells"]),
        ('"Some text,Earnings\n', ["topic.csv", "broken CSV"]),
    ],
)
def test_a_bad_row_is_named(data: Path, line: str, said: list[str]) -> None:
    with (data / "topic.csv").open("a", encoding="utf-8") as file:
        file.write(line)
    with pytest.raises(TrainError) as caught:
        load_data(_config(data), data)
    for part in said:
        assert part in str(caught.value)


def test_a_missing_column_lists_those_found(data: Path) -> None:
    (data / "topic.csv").write_text("headline,label\nOne,Earnings\n", "utf-8")
    with pytest.raises(TrainError, match=r"row 2: column 'text' is missing. Columns found: headline, label"):
        load_data(_config(data), data)


def test_a_class_with_one_example_is_refused_with_file_and_column(data: Path) -> None:
    text = (data / "topic.csv").read_text("utf-8")
    rows = [line for line in text.splitlines(keepends=True) if not line.rstrip().endswith("Energy | Oil")]
    (data / "topic.csv").write_text("".join([*rows, "One about crude,Energy | Oil\n"]), "utf-8")
    with pytest.raises(TrainError) as caught:
        load_data(_config(data), data)
    message = str(caught.value)
    assert "'energy_oil': only 1 example" in message
    assert "topic.csv, column 'label'" in message


def test_missing_files_wrong_encodings_and_broken_json_are_named(data: Path) -> None:
    (data / "entities.jsonl").write_text('{"text": "a"\n', "utf-8")
    with pytest.raises(TrainError, match=r"entities\.jsonl, row 1: not JSON"):
        load_data(_config(data), data)
    (data / "sentiment.csv").write_bytes("text,label\nVerluste für Bank,negative\n".encode("latin-1"))
    with pytest.raises(TrainError, match=r"sentiment\.csv, after row \d+: not UTF-8"):
        load_data(_config(data), data)
    (data / "topic.csv").unlink()
    with pytest.raises(TrainError, match=r"topic\.csv: cannot be read"):
        load_data(_config(data), data)
    with pytest.raises(TrainError, match="unknown kind of file"):
        list(read_rows(data / "recipe.toml"))


def test_labels_of_entities_must_be_an_object(data: Path) -> None:
    (data / "entities.jsonl").write_text(json.dumps({"text": "a", "entities": "neutral"}) + "\n", "utf-8")
    with pytest.raises(TrainError, match=r"entities\.jsonl, row 1, column 'entities': expected an object"):
        load_data(_config(data), data)


def test_a_leak_is_refused(data: Path) -> None:
    parts, _ = load_data(_config(data), data)
    stray = parts["test"][0]
    with pytest.raises(TrainError, match=r"is in '(train|test)' and in '(train|test)'"):
        check_leakage({**parts, "train": [*parts["train"], replace(stray, row=1)]})


@given(st.text(), st.integers(0, 5))
def test_the_place_of_a_group_depends_on_nothing_but_itself_and_the_seed(group: str, seed: int) -> None:
    split = Split(calibration=0.2, test=0.3)
    assert part_of(group, split, seed) == part_of(group, split, seed)
    assert part_of(group, split, seed) in ("train", "calibration", "test")


def test_parts_have_about_the_sizes_asked_for() -> None:
    split = Split(calibration=0.05, test=0.10)
    parts = [part_of(f"text {n}", split, 17) for n in range(20_000)]
    assert abs(parts.count("test") / 20_000 - 0.10) < 0.01
    assert abs(parts.count("calibration") / 20_000 - 0.05) < 0.01
