"""The HTML report: one file with its charts inside, nothing loaded from elsewhere; for phones and in the dark too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.core.markup import escape, page
from monitor.train.evaluation.charts import abstention_chart, interval_bar, rate_bar, reliability_chart

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2430;--soft:#5d6675;--line:#d9dde4;--paper:#fff;--panel:#f5f7fa;--blue:#2f6db3;
--red:#c0392b;--green:#2c8a57;--heat:47,109,179;--miss:192,57,43}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b5;--line:#363d49;--paper:#14171c;--panel:#1c2027;
--blue:#6aa7e8;--red:#ef7b6c;--green:#5cc38b;--heat:106,167,232;--miss:239,123,108}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:64rem;
padding:1.2rem 1rem 3rem;overflow-wrap:break-word}
h1{font-size:1.45rem;line-height:1.25;margin:.2rem 0}h2{font-size:1.12rem;margin:2.2rem 0 .5rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.4rem 0}.soft,small{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.55rem .75rem}
.tile b{display:block;font-size:1.4rem;font-variant-numeric:tabular-nums}.tile span{font-size:.82rem;color:var(--soft)}
.wide{overflow-x:auto;margin:.4rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.22rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}td.n,th.n{text-align:right;white-space:nowrap}td.name{white-space:nowrap}
.heat td,.heat th{text-align:center;padding:.25rem .4rem;min-width:2.1rem}
.heat th.name,.heat td.name{text-align:left}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem;align-items:start}
svg{display:block}svg.chart{width:100%;max-width:34rem;height:auto}svg.small{width:9rem;height:.9rem}
svg text{font:10px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}.ideal{stroke:var(--soft);stroke-dasharray:4 3}
.line{fill:none;stroke:var(--blue);stroke-width:2}.dot{fill:var(--blue)}.gap{stroke:var(--red);stroke-width:1.5}
.range{stroke:var(--blue);stroke-width:3;opacity:.45}.track{fill:var(--line)}.good{fill:var(--green)}
.bad{fill:var(--red)}.mark{stroke:var(--ink);stroke-width:1.5}
td.under{color:var(--red);font-weight:600}
details{border:1px solid var(--line);border-radius:8px;padding:.4rem .75rem;margin:.5rem 0}
summary{cursor:pointer}li{margin:.35rem 0}ul{padding-left:1.2rem}
"""


def render(figures: Mapping[str, Any] | None, suite: Mapping[str, Any] | None = None) -> str:
    """The page of an evaluation (the JSON report), of a run of the robustness suite (its JSON), or of both."""
    parts = []
    model = (figures or suite or {}).get("model", "")
    if figures is not None:
        title = f"{model}: {figures['task']}"
        parts.append(_head(figures))
        parts += [_comparison(figures), _calibration(figures), _abstention(figures), _per_class(figures)]
        parts += [_confusion(figures), _slices(figures), _errors(figures)]
    else:
        title = f"{model}: robustness"
        parts.append(f"<h1>{escape(title)}</h1>")
    if suite is not None:
        parts.append(suite_section(suite))
    return page(title=title, style=_STYLE, body="\n".join(part for part in parts if part))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(edges: Sequence[float]) -> str:
    return f"{_percent(edges[0])} to {_percent(edges[1])}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1) -> str:
    """Cells are HTML; the first ``text`` columns are words, the others numbers."""
    top = "".join(f"<th{'' if i < text else ' class=n'}>{cell}</th>" for i, cell in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td class={'name' if i < text else 'n'}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _head(figures: Mapping[str, Any]) -> str:
    names = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("weighted_f1", "weighted F1"), ("ece", "ECE"))
    tiles = "".join(
        f'<div class="tile"><span>{label}</span><b>{_percent(figures[key])}</b>'
        f"<span>{_range(figures['intervals'][key])}</span></div>"
        for key, label in names
    )
    tiles += (
        f'<div class="tile"><span>AURC</span><b>{_percent(figures["abstention"]["aurc"])}</b>'
        f"<span>lower is better</span></div>"
        f'<div class="tile"><span>Brier</span><b>{figures["brier"]:.3f}</b><span>lower is better</span></div>'
    )
    boot = figures["bootstrap"]
    notes = "".join(f"<li>{escape(note)}</li>" for note in figures["notes"])
    decided = ""
    if "decided" in figures:
        row = figures["decided"]
        decided = (
            f"<p>The file uses only {escape(', '.join(row['labels']))}: {row['part']:.1%} of the texts got one of "
            f"them, {row['accuracy']:.1%} of those right; {figures['among_labels']['accuracy']:.1%} are right when "
            "only those may be chosen.</p>"
        )
    return (
        f"<h1>{escape(figures['task'])} on {escape(figures['file'])}</h1>"
        f'<p class="soft">{escape(figures["model"])} · {figures["n"]} texts · in per cent, with 95 % intervals</p>'
        f'<div class="tiles">{tiles}</div>{decided}'
        + (f"<ul>{notes}</ul>" if notes else "")
        + f"<small>Bootstrap: {escape(boot['method'])}; {boot['resamples']} resamples of {boot['groups']} groups "
        f"({escape(boot['grouped_by'])}), seed {boot['seed']}.</small>"
    )


def _comparison(figures: Mapping[str, Any]) -> str:
    if "comparison" not in figures:
        return ""
    row = figures["comparison"]
    low, high = row["interval"]
    table = _table(
        ("", "other right", "other wrong"),
        (
            ("this right", str(row["both_right"]), str(row["only_this_right"])),
            ("this wrong", str(row["only_other_right"]), str(row["both_wrong"])),
        ),
    )
    verdict = "They differ at the 5 % level." if row["p_mid"] < 0.05 else "No difference is shown at the 5 % level."
    return (
        f"<h2>Against {escape(row['with'])}</h2><p>Its accuracy is {_percent(row['accuracy'])}; the difference is "
        f"{100 * row['difference']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}). McNemar's test: mid-p "
        f"{row['p_mid']:.2g}, exact {row['p_exact']:.2g}. {verdict} They agree on {row['agreement']:.1%} of the texts."
        f"</p>{table}"
    )


def _calibration(figures: Mapping[str, Any]) -> str:
    bins = figures["reliability"]
    rows = [
        (
            f"{_percent(row['from'])} to {_percent(row['to'])}",
            str(row["n"]),
            _percent(row["confidence"]),
            _percent(row["accuracy"]),
            f"{100 * (row['accuracy'] - row['confidence']):+.1f}",
        )
        for row in bins
    ]
    table = _table(("confidence", "n", "mean", "right", "gap"), rows)
    return (
        '<h2>Calibration</h2><div class="pair"><div>'
        f"{reliability_chart(bins)}<small>A point is a bin, its area the number of texts; the dashed line is "
        f"perfect. Mean confidence {_percent(figures['confidence'])}, accuracy {_percent(figures['accuracy'])}."
        f"</small></div><div>{table}</div></div>"
    )


def _abstention(figures: Mapping[str, Any]) -> str:
    data = figures["abstention"]
    wanted = [
        (
            _percent(row["precision"]),
            "–" if row["threshold"] is None else f"{row['threshold']:.3f}",
            _percent(row["coverage"]),
        )
        for row in data["at_precision"]
    ]
    curve = [
        (_percent(row["coverage"]), _percent(row["precision"]), f"{row['threshold']:.3f}") for row in data["curve"]
    ]
    return (
        '<h2>Saying "uncertain"</h2><div class="pair"><div>'
        f"{abstention_chart(data['curve'])}<small>Texts in the order of confidence: the part decided, and how many of "
        f"them are right. AURC {100 * data['aurc']:.2f} %.</small></div><div>"
        f"{_table(('wanted precision', 'threshold', 'decided'), wanted, text=0)}"
        f"<details><summary>Precision at coverage</summary>"
        f"{_table(('decided', 'right', 'threshold'), curve, text=0)}</details></div></div>"
    )


def _per_class(figures: Mapping[str, Any]) -> str:
    rows = [
        (
            escape(label),
            *(_percent(row[key]) for key in ("precision", "recall", "f1")),
            str(row["support"]),
            rate_bar(row["f1"], figures["macro_f1"]),
        )
        for label, row in figures["per_class"].items()
    ]
    head = ("label", "precision", "recall", "F1", "n", "F1; the mark is the macro-F1")
    return f"<h2>By label</h2>{_table(head, rows)}"


def _confusion(figures: Mapping[str, Any]) -> str:
    labels, table = figures["confusion"]["labels"], figures["confusion"]["table"]
    head = "".join(f"<th>{number}</th>" for number in range(1, len(labels) + 1))
    rows = []
    for number, (label, row) in enumerate(zip(labels, table, strict=True)):
        total = sum(row) or 1
        cells = "".join(
            f'<td style="background:rgba(var(--{"heat" if place == number else "miss"}),{0.85 * value / total:.2f})">'
            f"{value or ''}</td>"
            for place, value in enumerate(row)
        )
        rows.append(f'<tr><th class="name">{number + 1} {escape(label)}</th>{cells}</tr>')
    return (
        "<h2>Confusions</h2><p class=soft>Rows: what is true; columns, by the same numbers: what was said. The "
        f'shade is the part of the row.</p><div class="wide"><table class="heat"><tr><th></th>{head}</tr>'
        f"{''.join(rows)}</table></div>"
    )


def _slices(figures: Mapping[str, Any]) -> str:
    parts = []
    for name, found in figures["slices"].items():
        rows = [
            (
                escape(row["value"]),
                str(row["n"]),
                _percent(row["accuracy"]),
                _range(row["interval"]),
                _percent(row["macro_f1"]),
                _percent(row["confidence"]),
                interval_bar(row["accuracy"], *row["interval"]),
            )
            for row in found["parts"]
        ]
        head = (escape(name), "n", "accuracy", "interval", "macro-F1", "confidence", "0 to 100 %")
        how = "" if found["from"] == "column" else f" <small>({escape(found['from'])})</small>"
        parts.append(f"<h3>{escape(name)}{how}</h3>{_table(head, rows)}")
    if not parts:
        return ""
    return f"<h2>Parts of the set</h2>{''.join(parts)}<small>Intervals of the parts are Wilson's.</small>"


def _errors(figures: Mapping[str, Any], most: int = 12) -> str:
    if not figures["errors"]:
        return "<h2>Errors</h2><p>None.</p>"
    parts = []
    for place, row in enumerate(figures["errors"][:most]):
        examples = "".join(
            f"<li>{escape(item['text'])} <small>row {item['row']}, confidence {item['confidence']:.2f}</small></li>"
            for item in row["examples"]
        )
        parts.append(
            f"<details{' open' if place < 3 else ''}><summary>{escape(row['truth'])} read as "
            f"<b>{escape(row['predicted'])}</b>: {row['n']}</summary><ul>{examples}</ul></details>"
        )
    rest = len(figures["errors"]) - most
    more = f"<p class=soft>{rest} rarer confusions are in the JSON report.</p>" if rest > 0 else ""
    return f"<h2>Errors it was surest of</h2>{''.join(parts)}{more}"


def suite_section(suite: Mapping[str, Any]) -> str:
    """The section of the robustness suite, from the suite's JSON."""
    langs = sorted({lang for row in suite["capabilities"].values() for lang in row if lang not in ("all", "target")})
    floors = suite.get("floors")
    body = []
    for name, row in suite["capabilities"].items():
        cells = []
        for lang in langs:
            cell = row.get(lang)
            under = floors is not None and cell is not None and cell["pass_rate"] < floors.get(name, {}).get(lang, 0.0)
            shown = "–" if cell is None else f"{_percent(cell['pass_rate'])} <small>of {cell['n']}</small>"
            cells.append(f'<td class="n{" under" if under else ""}">{shown}</td>')
        whole = row["all"]
        body.append(
            f'<tr><td class="name">{escape(name)}</td><td class="n">{_percent(whole["pass_rate"])}</td>'
            f"<td>{rate_bar(whole['pass_rate'], row['target'])}</td>{''.join(cells)}"
            f'<td class="n">{_percent(row["target"])}</td></tr>'
        )
    head = "".join(f"<th class=n>{escape(lang)}</th>" for lang in langs)
    kinds = "".join(
        f'<div class="tile"><span>{label}</span><b>{_percent(suite["kinds"][kind]["pass_rate"])}</b>'
        f"<span>{suite['kinds'][kind]['passed']} of {suite['kinds'][kind]['n']}</span></div>"
        for kind, label in (("mft", "known verdict"), ("inv", "invariance"), ("dir", "direction"))
        if suite["kinds"][kind]["n"]
    )
    return (
        f"<h2>Robustness</h2><p>{suite['passed']} of {suite['n']} cases pass.</p>"
        f'<div class="tiles">{kinds}</div><div class="wide"><table><tr><th>capability</th><th class=n>passed, %</th>'
        f"<th>the mark is the target</th>{head}<th class=n>target</th></tr>{''.join(body)}</table></div>"
        f"{_suite_failures(suite.get('failures', ()))}"
    )


def _suite_failures(failures: Sequence[Mapping[str, Any]]) -> str:
    by_capability: dict[str, list[Mapping[str, Any]]] = {}
    for failure in failures:
        by_capability.setdefault(failure["capability"], []).append(failure)
    parts = []
    for name, rows in by_capability.items():
        items = "".join(
            f"<li>{escape(row['text'])}"
            + (f"<br><small>{'against' if row['kind'] == 'dir' else 'was'}: {escape(row['other'])}</small>"
               if "other" in row else "")
            + f"<br><small>{escape(row['id'])}: {escape(row['reason'])}</small></li>"
            for row in rows
        )  # fmt: skip
        parts.append(f"<details><summary>{escape(name)}: {len(rows)} failed</summary><ul>{items}</ul></details>")
    return f"<h3>What failed</h3>{''.join(parts)}" if parts else ""
