"""``riskwire backtest --sweep`` and ``--compare``: the same articles again with other constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.core.codec import dumps
from monitor.core.errors import UsageError
from monitor.core.types import Incident, ScoredArticle

if TYPE_CHECKING:
    from alerts.backtest import Summary
    from alerts.config import PipelineConfig
    from alerts.pipeline import DetectPipeline
    from alerts.trials import Label

Again = Callable[[], Iterable[ScoredArticle]]


@dataclass(slots=True)
class _Other:
    """The configuration that a run is compared with."""

    config: PipelineConfig
    said: dict[str, str]
    pipeline: DetectPipeline | None = None


class Trials:
    """What is asked for beside the one run. Everything is checked when it is made, before anything runs; raises
    UsageError or ConfigError."""

    def __init__(
        self,
        config: PipelineConfig,
        base: dict[str, str],
        sweep: list[str],
        compare: str | None,
        labels: Path | None,
        file: Path | None,
    ) -> None:
        from alerts.trials import read_labels
        from alerts.tuning import combinations, tuned

        self.config, self._base = config, base
        self._said = {**({"configuration": str(file)} if file else {}), **base}
        self._sweep = [(chosen, tuned(config, chosen)) for chosen in combinations(sweep)] if sweep else []
        self._labels: tuple[Label, ...] | None = read_labels(labels) if labels is not None else None
        self._other = self._read(compare) if compare is not None else None

    @property
    def wanted(self) -> bool:
        """Whether there is more than one run."""
        return bool(self._sweep) or self._other is not None

    def _read(self, compare: str) -> _Other:
        from alerts.tuning import assignment, tuned

        if "=" in compare:
            said = {name: ",".join(values) for name, values in map(assignment, compare.split())}
            return _Other(config=tuned(self.config, said), said={**self._said, **said})
        from monitor.app import build_pipeline, build_watchlist
        from monitor.config import load_settings

        path = Path(compare)
        if not path.is_file():
            raise UsageError(
                f"There is no configuration {path} to compare with.", hint="Give a file, or incidents.open_q=0.01."
            )
        settings = load_settings(path)
        pipeline = build_pipeline(settings, build_watchlist(settings), alerting=False)
        return _Other(config=pipeline.config, said={"configuration": str(path)}, pipeline=pipeline)

    def run(
        self,
        again: Again,
        first: Summary,
        pipeline: DetectPipeline,
        out: Path,
        title: str,
        status: Callable[[str], None],
    ) -> Iterator[str]:
        """Runs what is asked for, writes its files into ``out`` and yields lines for people."""
        if self._sweep:
            yield from self._swept(again, pipeline, out, title, status)
        if self._other is not None:
            yield from self._compared(again, first, pipeline, out, title, status)

    def _swept(
        self, again: Again, pipeline: DetectPipeline, out: Path, title: str, status: Callable[[str], None]
    ) -> Iterator[str]:
        from alerts.trials import judge
        from alerts.trials_report import sweep_csv, sweep_page, sweep_rows

        outcomes = []
        for number, (chosen, config) in enumerate(self._sweep, 1):
            status(f"combination {number} of {len(self._sweep)}: {chosen}")
            summary = _run(again(), config, pipeline)
            outcomes.append(judge(chosen, _opened(summary), summary.weeks, self._labels))
        doc = {"base": self._said, "outcomes": [outcome.to_doc() for outcome in outcomes]}
        _write(out, "sweep.json", f"{dumps(doc)}\n")
        _write(out, "sweep.csv", sweep_csv(outcomes))
        _write(out, "sweep.html", sweep_page(f"{title}: sweep", outcomes))
        columns, rows = sweep_rows(outcomes)
        widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
        for row in (columns, *rows):
            yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))

    def _compared(
        self,
        again: Again,
        first: Summary,
        pipeline: DetectPipeline,
        out: Path,
        title: str,
        status: Callable[[str], None],
    ) -> Iterator[str]:
        from alerts.trials import compare
        from alerts.trials_report import compare_doc, compare_page, shown

        assert self._other is not None
        status("the other configuration")
        summary = _run(again(), self._other.config, self._other.pipeline or pipeline)
        found = compare(_opened(first), _opened(summary))
        a, b = self._said, self._other.said
        _write(out, "compare.json", f"{dumps(compare_doc(found, a, b))}\n")
        _write(out, "compare.html", compare_page(f"{title}: A against B", found, shown(a), shown(b)))
        delay = "" if found.delay is None else f"; B opened {found.delay:+g} minutes after A in the median"
        yield f"A: {shown(a)}; B: {shown(b)}"
        yield f"{len(found.both)} in both, {len(found.only_a)} only in A, {len(found.only_b)} only in B{delay}"


def _opened(summary: Summary) -> list[Incident]:
    return list(summary.incidents)


def _run(items: Iterable[ScoredArticle], config: PipelineConfig, like: DetectPipeline) -> Summary:
    from alerts.backtest import run_pipeline
    from alerts.pipeline import DetectPipeline

    names: Any = like.book.names
    pipeline = DetectPipeline(config, display_names=names, alerting=False, persist=False, rules=like.rules.rules)
    return run_pipeline(items, pipeline)


def _write(out: Path, name: str, content: str) -> None:
    from alerts.backtest import written

    with written(out / name) as file:
        file.write(content.encode("utf-8", "replace"))
