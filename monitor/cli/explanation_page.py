"""One HTML page that shows which words weighed on the verdicts: self-contained, nothing runs, nothing is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from monitor.core.markup import escape, page
from monitor.core.types import Article, Scored
from monitor.model.explain import Explanation

Display = Callable[[str, str], str]
"""(task, label) → the label's name for people."""
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LEAST = 0.06
"""Weights below this part of the text's strongest are not coloured: they are noise to the eye."""
_FULL = 0.1
"""No weight below this is shown in full colour: where no word matters much, the page must not look as if one did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An article with its scores and, by task, what its words did; empty when it came already scored."""

    article: Article
    scored: Scored
    explanations: Mapping[str, Explanation]


def explanation_page(shown: Sequence[Shown], *, model: str, display: Display) -> str:
    """The whole document."""
    cards = "\n".join(_card(item, display) for item in shown)
    body = (
        f"<header><h1>Why these verdicts</h1>{_LEGEND.format(count=len(shown), model=escape(model))}</header>\n{cards}"
    )
    return page(title="Riskwire: why these verdicts", style=_STYLE, body=f"<main>{body}</main>")


def _card(item: Shown, display: Display) -> str:
    article = item.article
    rows = []
    for task in ("sentiment", "topic"):
        explanation = item.explanations.get(task)
        given = item.scored.scores.sentiments if task == "sentiment" else item.scored.scores.topics
        label = max(given, key=lambda name: given[name])
        doubt = " <em>uncertain</em>" if task in item.scored.doubts else ""
        verdict = (
            f'<span class="chip {_hue(task, label, 1)}">{escape(display(task, label))}</span>'
            f'<span class="p">{given[label]:.0%}{doubt}</span>'
        )
        text = marked(article.text, explanation, task) if explanation else escape(article.text)
        if explanation is None:
            verdict += '<span class="p">scored elsewhere</span>'
        rows.append(f'<div class="row"><div class="verdict">{verdict}</div><p><bdi dir="auto">{text}</bdi></p></div>')
    notes = [note for note in (article.source, article.lang) if note not in ("", "und", "text")]
    if "language" in item.scored.doubts:
        notes.append("language not supported by the model")
    foot = f"<footer>{' · '.join(map(escape, notes))}</footer>" if notes else ""
    return f"<article>{''.join(rows)}{foot}</article>"


def marked(text: str, explanation: Explanation, task: str) -> str:
    """The text as HTML with its words in ``mark`` elements; what follows the last weighed word is cut after a while."""
    strongest = max(_FULL, *(abs(word.weight) for word in explanation.words), 0.0)
    pieces: list[str] = []
    end = 0
    for word in sorted(explanation.words, key=lambda item: item.start):
        pieces.append(_plain(text[end : word.start]))
        inner = _plain(text[word.start : word.end])
        share = abs(word.weight) / strongest
        if share >= _LEAST:
            kind = _hue(task, explanation.label, word.weight) + ("" if word.weight > 0 else " against")
            inner = (
                f'<mark class="{kind}" style="--a:{0.12 + 0.68 * share:.2f}" title="{word.weight:+.3f}">{inner}</mark>'
            )
        pieces.append(inner)
        end = word.end
    rest = text[end:]
    return "".join(pieces) + _plain(rest[:240] + ("…" if len(rest) > 240 else ""))


def _plain(text: str) -> str:
    return escape(_DIRECTION.sub("\ufffd", text))


def _hue(task: str, label: str, weight: float) -> str:
    """The colour says which way a word pulls: red towards bad, green towards good news, violet for topics."""
    if task == "topic":
        return "topic" if weight > 0 else "away"
    if label == "neutral":
        return "calm" if weight > 0 else "away"
    return "bad" if (label == "negative") == (weight > 0) else "good"


_LEGEND = """<p>{count} articles, model <code>{model}</code>. The stronger a colour, the more the probability of the
verdict falls without the word; hover for the change in probability. Words are compared within one text only.</p>
<ul class="legend"><li><mark class="bad" style="--a:.6">pulls to negative</mark></li>
<li><mark class="good" style="--a:.6">pulls to positive</mark></li>
<li><mark class="calm" style="--a:.6">pulls to neutral</mark></li>
<li><mark class="topic" style="--a:.6">pulls to the topic</mark></li>
<li><mark class="away against" style="--a:.5">dashed: speaks against the verdict</mark></li></ul>"""

_STYLE = """
:root{color-scheme:light dark;--bad:214 40 40;--good:22 140 70;--calm:70 110 200;--topic:138 84 214;--away:200 130 20;
--ink:#1b1d21;--dim:#5b616b;--paper:#f6f7f9;--card:#fff;--line:#dfe2e8}
@media (prefers-color-scheme:dark){:root{--bad:235 80 80;--good:60 180 110;--calm:100 145 240;--topic:168 125 245;
--away:215 150 50;--ink:#e8eaee;--dim:#9aa1ad;--paper:#14161a;--card:#1d2026;--line:#31353d}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.6 system-ui,-apple-system,"Segoe UI","Noto Sans","PingFang SC","Microsoft YaHei",
"Noto Sans CJK SC",sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.4rem;margin:0}
header p{color:var(--dim);margin:.3rem 0 .6rem;max-width:48rem}code{font-size:.9em;overflow-wrap:anywhere}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.4rem 1rem;padding:0;margin:0 0 1.2rem;font-size:.9rem}
article{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem 1rem;margin:0 0 .8rem}
.row{display:grid;grid-template-columns:13rem 1fr;gap:0 1rem;align-items:baseline}.row p{margin:.15rem 0;min-width:0;
overflow-wrap:anywhere;white-space:pre-line}.row+.row{border-top:1px dashed var(--line)}
.verdict{display:flex;gap:.5rem;align-items:baseline;flex-wrap:wrap}.p,footer{color:var(--dim);font-size:.85rem}
.chip{font-size:.85rem;font-weight:600;padding:0 .5rem;border-radius:1rem;background:rgb(var(--c)/.16);
border:1px solid rgb(var(--c)/.55)}
mark{color:inherit;background:rgb(var(--c)/var(--a));border-radius:.2rem;padding:.05em .12em}
.against{text-decoration:underline dashed 1px;text-underline-offset:.25em}
.bad{--c:var(--bad)}.good{--c:var(--good)}.calm{--c:var(--calm)}.topic{--c:var(--topic)}.away{--c:var(--away)}
footer{margin-top:.3rem}@media (max-width:40rem){.row{grid-template-columns:1fr}}
@media print{mark,.chip{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
