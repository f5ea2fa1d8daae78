"""``riskwire score`` as a user meets it: explanations, the page, and input that is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path

from e2e_tools import command, needs_model

TITLES = [
    "Steelmaker's shares plunge after fraud probe",
    "恒大债务违约，股价暴跌",
    "Deutsche Bank streicht 3.500 Stellen",
    "<script>alert(1)</script> \u202eevil",
    "🚀",
    "loss " * 200_000,
]


@needs_model()
async def test_explanations_are_signed_sit_where_they_say_and_are_shown_on_a_page(tmp_path: Path) -> None:
    given = {"title": "theirs", "source": "s", "topics": {"mine": 1.0}, "sentiments": {"negative": 1.0}}
    rows = [{"source": "s", "title": title} for title in TITLES] + [given]
    stdin = "".join(json.dumps(row) + "\n" for row in rows)
    result = await command("score", "--explain", "--words", "3", "--html", "page.html", cwd=tmp_path, stdin=stdin)
    assert result.code == 0, result.err
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert len(answers) == len(rows)
    for answer in answers[:-1]:
        for task in ("topic", "sentiment"):
            explanation = answer["explanation"][task]
            assert explanation["label"] == max(answer[f"{task}s"], key=answer[f"{task}s"].get)
            assert len(explanation["words"]) <= 3
            weights = [abs(word["weight"]) for word in explanation["words"]]
            assert weights == sorted(weights, reverse=True)
            assert all(answer["title"][w["start"] : w["end"]] == w["word"] for w in explanation["words"])
    assert answers[0]["explanation"]["sentiment"]["label"] == "negative"
    assert {word["word"] for word in answers[0]["explanation"]["sentiment"]["words"]} & {"plunge", "fraud", "probe"}
    assert answers[2]["doubts"] == ["language"]
    assert "explanation" not in answers[-1]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count("<article>") == len(rows)


@needs_model()
async def test_input_that_is_not_what_it_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "gbk.txt").write_bytes("央行下调存款准备金率\n".encode("gbk"))
    refused = await command("score", "--text", "gbk.txt", cwd=tmp_path)
    assert refused.code == 2
    assert "gbk.txt, line 1" in refused.err
    assert "--encoding gb18030" in refused.err
    taken = await command("score", "--text", "--encoding", "gb18030", "gbk.txt", cwd=tmp_path)
    assert json.loads(taken.out)["title"] == "央行下调存款准备金率"
    nowhere = await command("score", "--html", "no/where.html", cwd=tmp_path, stdin="{}")
    assert nowhere.code == 2
    assert "no folder" in nowhere.err
