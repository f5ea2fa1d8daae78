"""The model that ships: plain verdicts that anyone would agree on, in both languages."""

import pytest

from monitor.model.artefact import Artefact, verify
from monitor.model.engines import choose_engine
from monitor.model.engines.base import TokenEngine


@pytest.fixture(scope="module")
def engine(shipped: Artefact) -> TokenEngine:
    return choose_engine(shipped, "onnx")


def test_it_is_whole_and_small(shipped: Artefact) -> None:
    assert len(verify(shipped.path)) >= 5
    assert shipped.size() < 52_000_000
    assert shipped.safetensors is None
    assert len(shipped.tasks["topic"].labels) == 20
    assert all(
        task.display(label, lang) not in ("", label)
        for task in shipped.tasks.values()
        for label in task.labels
        for lang in ("en", "zh")
        if label != "ipo"
    )


def test_it_beats_the_linear_svm_on_the_same_split(shipped: Artefact) -> None:
    figures = shipped.metrics()["test"]
    for task, source in (("topic", "tfn-topic"), ("sentiment", "tfn-sentiment")):
        row = figures[task][source]
        assert row["accuracy"] > row["tfidf_linear_svm"]["accuracy"]
        assert row["macro_f1"] > row["tfidf_linear_svm"]["macro_f1"]


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("Shares of the bank plunge 18% after it reports a surprise loss", "negative"),
        ("Moody's downgrades the company's debt to junk", "negative"),
        ("Retailer soars as quarterly profit beats estimates", "positive"),
        ("Company raises full-year guidance on strong demand", "positive"),
        ("公司预计全年净利润同比增长六成", "positive"),
        ("公司股价暴跌,全年预计巨额亏损", "negative"),
    ],
)
def test_plain_sentiment(engine: TokenEngine, text: str, sentiment: str) -> None:
    (scores,) = engine.predict([text])
    assert scores.sentiment == sentiment


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("Fed raises interest rates by 25 basis points, Powell says more hikes may come", {"fed_central_banks"}),
        ("Oil prices climb as OPEC+ agrees to cut output", {"energy_oil"}),
        ("Company names new chief executive as founder steps down", {"personnel_change"}),
        ("Board declares quarterly dividend of $0.42 per share", {"dividend"}),
        ("美联储宣布加息25个基点", {"fed_central_banks"}),
    ],
)
def test_plain_topics(engine: TokenEngine, text: str, topics: set[str]) -> None:
    (scores,) = engine.predict([text])
    assert scores.topic in topics
