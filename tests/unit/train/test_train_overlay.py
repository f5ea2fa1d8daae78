"""Data paths of the corpus, label overlays, weights and ways to split."""

import json
from pathlib import Path

import pytest
from tiny_model import RECIPE, write_data

import monitor.train
from monitor.core.errors import ConfigError, TrainError
from monitor.model.preprocess import group_key
from monitor.train.config import TrainConfig, load_config
from monitor.train.data import Example, data_path, load_data, text_key

OVERLAY = '\n[[labels]]\npath = "more.csv"\ntask = "sentiment"\nweight = 0.7\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data(tmp_path)
    return tmp_path


def _config(folder: Path, text: str = RECIPE) -> TrainConfig:
    (folder / "recipe.toml").write_text(text, "utf-8")
    return load_config(folder / "recipe.toml")


def _keys(folder: Path, rows: list[tuple[str, str]]) -> None:
    (folder / "more.csv").write_text("key,label\n" + "".join(f"{key},{label}\n" for key, label in rows), "utf-8")


def _by_source(examples: list[Example], source: str) -> list[Example]:
    return [example for example in examples if example.source == source]


def test_the_key_is_the_start_of_the_sha256_of_the_normalised_text() -> None:
    # printf 'profitup' | sha256sum
    assert text_key(group_key("$ACM  Profit, UP! https://t.co/x")) == "2dfa967285525c0c"


def test_an_overlay_labels_training_texts_that_lack_one_and_no_others(data: Path) -> None:
    plain, _ = load_data(_config(data), data)
    topic = _by_source(plain["train"], "topic")
    moods = _by_source(plain["train"], "sentiment")
    held = _by_source(plain["test"], "topic")
    rows = [(text_key(ex.group), "Negative") for ex in topic[:4]]
    rows += [(text_key(moods[0].group), "positive"), (text_key(held[0].group), "positive"), ("0" * 16, "neutral")]
    rows += [rows[0], (rows[1][0], "positive")]
    _keys(data, rows)
    parts, report = load_data(_config(data, RECIPE + OVERLAY), data)

    added = [ex for ex in _by_source(parts["train"], "topic") if "sentiment" in ex.labels]
    assert [ex.row for ex in added] == [ex.row for ex in topic[:4]]
    assert all(ex.labels["sentiment"] == 0 and ex.weights == {"sentiment": 0.7} for ex in added)
    assert {ex.row: ex.labels["topic"] for ex in added} == {ex.row: ex.labels["topic"] for ex in topic[:4]}
    assert _by_source(parts["train"], "sentiment") == moods
    assert (parts["calibration"], parts["test"]) == (plain["calibration"], plain["test"])
    assert report.overlays["more/sentiment"] == {
        "rows": 9, "given": 4, "already_labelled": 1, "held_out": 1, "no_such_text": 1, "repeated": 2
    }  # fmt: skip
    assert [line for line in report.conflicts if "more.csv, row 10" in line]
    assert report.to_dict()["label_overlays"] == report.overlays


def test_a_text_in_two_data_sets_gets_the_label_of_an_overlay_once(data: Path) -> None:
    config = RECIPE.replace('path = "sentiment.csv"', 'path = "second.csv"').replace(
        '{ sentiment = "label" }', '{ topic = "label" }'
    )
    (data / "second.csv").write_bytes((data / "topic.csv").read_bytes())
    plain, _ = load_data(_config(data, config), data)
    _keys(data, [(text_key(ex.group), "neutral") for ex in _by_source(plain["train"], "topic")])
    parts, _ = load_data(_config(data, config + OVERLAY), data)
    groups = [ex.group for ex in parts["train"] if "sentiment" in ex.labels and ex.source != "entities"]
    assert len(groups) == len(set(groups)) > 50


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("123,neutral", "row 2, column 'key': '123' is not a key"),
        ("0123456789abcdeF,neutral", "column 'key'"),
        ("0123456789abcdef,bullish", "row 2, column 'label': unknown label 'bullish'"),
        ("0123456789abcdef", "row 2: column 'label' is missing"),
    ],
)
def test_a_bad_row_of_an_overlay_is_named(data: Path, row: str, said: str) -> None:
    (data / "more.csv").write_text(f"key,label\n{row}\n", "utf-8")
    with pytest.raises(TrainError) as caught:
        load_data(_config(data, RECIPE + OVERLAY), data)
    assert "more.csv" in str(caught.value)
    assert said in str(caught.value)


def test_an_overlay_of_an_unknown_task_is_a_config_error(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"key 'labels.0.task': there is no task 'mood'"):
        _config(data, RECIPE + OVERLAY.replace('"sentiment"', '"mood"'))


def test_corpus_paths_lead_into_the_package_and_nowhere_else(tmp_path: Path) -> None:
    corpus = Path(next(iter(monitor.train.__path__))) / "corpus"
    assert data_path(tmp_path, "news.csv") == tmp_path / "news.csv"
    present = next(corpus.iterdir())
    assert data_path(tmp_path, f"corpus:{present.name}") == present
    with pytest.raises(TrainError, match=r"The corpus has no file 'none.csv'"):
        data_path(tmp_path, "corpus:none.csv")
    for path in ("corpus:../config.py", "corpus:", "corpus:a/b.csv"):
        with pytest.raises(TrainError, match="names no file of the corpus"):
            data_path(tmp_path, path)


def test_the_corpus_files_that_the_package_carries_can_be_trained_on(data: Path) -> None:
    corpus = Path(next(iter(monitor.train.__path__))) / "corpus"
    names = sorted(file.name for file in corpus.glob("*.csv") if file.read_text("utf-8").startswith(HEADER))
    assert names == ["news-en.csv", "news-zh.csv"]
    recipe = (Path(next(iter(monitor.train.__path__))) / "recipes" / "packaged.toml").read_text("utf-8")
    tasks = recipe[recipe.index("[tasks.") :]
    sets = "".join(
        f'[[data]]\npath = "corpus:{name}"\nlabels = {{ sentiment = "sentiment", topic = "topic" }}\n' for name in names
    )
    config = _config(data, f'name = "corpus"\nencoder = "x"\n{sets}\n{tasks}')
    _, report = load_data(config, data)
    assert sum(report.kept.values()) > 0.9 * sum(report.rows.values())


HEADER = "text,sentiment,topic,lang,kind\n"


def test_a_data_set_only_to_train_on_is_never_held_out_nor_leaks(data: Path) -> None:
    recipe = RECIPE.replace("agree = true", 'agree = true\nsplit = "train"\nweight = 0.5')
    plain, _ = load_data(_config(data), data)
    stolen = next(ex for ex in plain["test"] if ex.source == "sentiment")
    with (data / "entities.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": stolen.text.upper(), "entities": {"one": "neutral"}}) + "\n")
    parts, report = load_data(_config(data, recipe), data)
    assert not _by_source(parts["test"] + parts["calibration"], "entities")
    assert len(_by_source(parts["train"], "entities")) == report.kept["entities"] - 1
    assert report.held_elsewhere == {"entities": 1}
    assert {ex.weights["sentiment"] for ex in _by_source(parts["train"], "entities")} == {0.5}
    assert report.shared == 1
    assert len(report.disputed) == (stolen.labels["sentiment"] != 1)


def test_a_data_set_only_to_test_on_is_never_trained_on(data: Path) -> None:
    copied = (data / "sentiment.csv").read_text("utf-8").splitlines()[1:21]
    (data / "apart.csv").write_text("text,label\n" + "\n".join(copied) + "\n", "utf-8")
    recipe = RECIPE + '\n[[data]]\npath = "apart.csv"\nsplit = "test"\nlabels = { sentiment = "label" }\n'
    parts, report = load_data(_config(data, recipe), data)
    tested = {ex.group for ex in _by_source(parts["test"], "apart")}
    assert len(tested) == report.kept["apart"]
    assert not tested & {ex.group for ex in parts["train"] + parts["calibration"]}
    assert report.held_elsewhere["sentiment"] == report.kept["apart"]


def test_two_data_sets_of_one_name_are_refused_until_one_is_named(data: Path) -> None:
    more = '\n[[data]]\npath = "other/topic.csv"\nlabels = { topic = "label" }\n'
    with pytest.raises(ConfigError, match="two data sets are called 'topic'"):
        _config(data, RECIPE + more)
    config = _config(data, RECIPE + more + 'name = "topic-2"\n')
    assert [dataset.source for dataset in config.data] == ["topic", "sentiment", "entities", "topic-2"]


def test_soft_labels_are_read_and_checked(data: Path) -> None:
    recipe = RECIPE + '\n[[data]]\npath = "soft.csv"\nsplit = "train"\nlabels = { sentiment = "p" }\n'
    good = json.dumps({"negative": 0.2, "positive": 0.8}).replace('"', '""')
    (data / "soft.csv").write_text(f'text,p\nSoft one,"{good}"\nHard one,neutral\n', "utf-8")
    parts, _ = load_data(_config(data, recipe), data)
    soft, hard = _by_source(parts["train"], "soft")
    assert soft.soft["sentiment"] == pytest.approx((0.2, 0.0, 0.8))
    assert (soft.labels["sentiment"], hard.labels["sentiment"], hard.soft) == (2, 1, {})
    for cell, said in (
        ('{""negative"": 0.2}', "add up to 0.2"),
        ('{""bad"": 1.0}', "unknown label 'bad'"),
        ('{""negative"": 1.2}', "'negative' is not a probability"),
        ("{negative", "not JSON"),
    ):
        (data / "soft.csv").write_text(f'text,p\nSoft one,"{cell}"\n', "utf-8")
        with pytest.raises(TrainError, match=said):
            load_data(_config(data, recipe), data)
