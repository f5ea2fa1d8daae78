"""The feed benchmark: over a corpus written here, and over the real one where it is at hand."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

SHARED = os.environ.get("RISKWIRE_SHARED", "")


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "feeds.py"
    if not path.exists():
        pytest.skip("benchmarks/ is not here")
    spec = importlib.util.spec_from_file_location("benchmark_feeds", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_feeds"] = module
    spec.loader.exec_module(module)
    return module


async def test_it_tells_agreement_from_disagreement(bench: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "manifest.csv").write_text(
        "collection,path,xml_well_formed_expat,expect\n"
        "good,right.xml,yes,\"not bozo and entries[0]['title'] == 'Bank fails' and len(entries) == 1\"\n"
        "good,wrong.xml,yes,\"not bozo and entries[0]['title'] == 'Another title'\"\n"
        "good,page.html,no,\n"
    )
    item = "<rss version='2.0'><channel><item><title>Bank fails</title><link>http://n.example/1</link></item></channel></rss>"
    (tmp_path / "good/right.xml").write_text(item)
    (tmp_path / "good/wrong.xml").write_text(item)
    (tmp_path / "good/page.html").write_text("<html><body>Nothing</body></html>")
    report = await bench.run(bench.load_corpus(tmp_path))
    kinds = {outcome.file.name: outcome.kind for outcome in report.outcomes}
    assert kinds == {"good/right.xml": "articles", "good/wrong.xml": "articles", "good/page.html": "not_a_feed"}
    ((only),) = report.unexplained()
    assert (only["file"], only["field"], only["theirs"]) == ("good/wrong.xml", "title", "Another title")
    assert "articles" in bench.table(report)


@pytest.mark.skipif(not (SHARED and Path(SHARED, "data/feeds").is_dir()), reason="RISKWIRE_SHARED has no feeds")
@pytest.mark.timeout(300)
async def test_the_real_corpus(bench: ModuleType) -> None:
    files = bench.load_corpus(Path(SHARED, "data/feeds"))
    report = await bench.run(files)
    kinds = [outcome.kind for outcome in report.outcomes]
    assert len(kinds) >= 2_137
    assert kinds.count("crash") == kinds.count("hang") == 0
    assert kinds.count("articles") >= 500
    assert kinds.count("articles") + kinds.count("empty_feed") + kinds.count("entry_without_text") >= 2_118
    assert max(outcome.seconds for outcome in report.outcomes) < bench.HANG
    assert sum(report.checks.values()) > 6_000
    assert report.unexplained() == []
    assert len(report.disagreements) <= 25
