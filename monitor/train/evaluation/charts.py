"""The charts of the report as inline SVG: no scripts, colours from the page's style sheet. Every number that they show
stands in a table beside them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.core.markup import escape

_SIDE, _LEFT, _BOTTOM, _TOP, _RIGHT = 360.0, 44.0, 40.0, 12.0, 14.0
_PLOT_W, _PLOT_H = _SIDE - _LEFT - _RIGHT, _SIDE - 80 - _BOTTOM - _TOP


class _Axes:
    """A plot of [x0, x1] by [y0, y1] with its grid and titles."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], titles: tuple[str, str]) -> None:
        self._x, self._y, self._titles = x, y, titles
        self.height = _PLOT_H + _BOTTOM + _TOP

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + _PLOT_W * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self._y
        return _TOP + _PLOT_H * (1 - (value - low) / (high - low))

    def frame(self) -> str:
        parts = []
        for step in range(6):
            level = self._y[0] + (self._y[1] - self._y[0]) * step / 5
            place = self._x[0] + (self._x[1] - self._x[0]) * step / 5
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _PLOT_W}" y1="{self.y(level):.1f}" '
                f'y2="{self.y(level):.1f}"/>'
                f'<text x="{_LEFT - 6}" y="{self.y(level) + 3.5:.1f}" text-anchor="end">{_tick(level)}</text>'
                f'<text x="{self.x(place):.1f}" y="{_TOP + _PLOT_H + 15}" text-anchor="middle">{_tick(place)}</text>'
            )
        horizontal, vertical = map(escape, self._titles)
        parts.append(
            f'<text x="{_LEFT + _PLOT_W / 2}" y="{self.height - 6}" text-anchor="middle">{horizontal}</text>'
            f'<text transform="translate(11 {_TOP + _PLOT_H / 2}) rotate(-90)" text-anchor="middle">{vertical}</text>'
        )
        return "".join(parts)

    def svg(self, label: str, content: str) -> str:
        return (
            f'<svg class="chart" viewBox="0 0 {_SIDE:.0f} {self.height:.0f}" role="img" aria-label="{escape(label)}">'
            f"{self.frame()}{content}</svg>"
        )


def _tick(value: float) -> str:
    return f"{100 * value:.1f}".rstrip("0").rstrip(".")


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy over confidence by bin; the diagonal is perfect calibration. The area of a point is its texts."""
    axes = _Axes((0.0, 1.0), (0.0, 1.0), ("confidence, %", "right, %"))
    most = max(row["n"] for row in bins)
    points = "".join(
        f'<line class="gap" x1="{axes.x(row["confidence"]):.1f}" x2="{axes.x(row["confidence"]):.1f}" '
        f'y1="{axes.y(row["confidence"]):.1f}" y2="{axes.y(row["accuracy"]):.1f}"/>'
        f'<circle class="dot" cx="{axes.x(row["confidence"]):.1f}" cy="{axes.y(row["accuracy"]):.1f}" '
        f'r="{2.5 + 6 * (row["n"] / most) ** 0.5:.1f}"><title>{row["n"]} texts, confidence {row["confidence"]:.1%}, '
        f"right {row['accuracy']:.1%}</title></circle>"
        for row in bins
    )
    line = " ".join(f"{axes.x(row['confidence']):.1f},{axes.y(row['accuracy']):.1f}" for row in bins)
    diagonal = f'<line class="ideal" x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"/>'
    return axes.svg("reliability", f'{diagonal}<polyline class="line" points="{line}"/>{points}')


def abstention_chart(curve: Sequence[Mapping[str, float]]) -> str:
    """Precision of the texts decided over the part decided."""
    lowest = min(row["precision"] for row in curve)
    span = next(item for item in (0.05, 0.1, 0.25, 0.5, 1.0) if lowest >= 1 - item)
    axes = _Axes((0.0, 1.0), (1 - span, 1.0), ("decided, %", "right among them, %"))
    line = " ".join(f"{axes.x(row['coverage']):.1f},{axes.y(row['precision']):.1f}" for row in curve)
    dots = "".join(
        f'<circle class="dot" cx="{axes.x(row["coverage"]):.1f}" cy="{axes.y(row["precision"]):.1f}" r="3"><title>'
        f"{row['coverage']:.0%} decided at confidence {row['threshold']:.2f} or more: {row['precision']:.1%} right"
        "</title></circle>"
        for row in curve
    )
    return axes.svg("abstention", f'<polyline class="line" points="{line}"/>{dots}')


def interval_bar(value: float, low: float, high: float) -> str:
    """A value from 0 to 1 with its interval, small enough for a table's cell."""
    width, height = 150.0, 14.0
    x = [3 + (width - 6) * min(1.0, max(0.0, item)) for item in (low, high, value)]
    return (
        f'<svg class="small" viewBox="0 0 {width:.0f} {height:.0f}" aria-hidden="true">'
        f'<line class="grid" x1="3" x2="{width - 3}" y1="7" y2="7"/>'
        f'<line class="range" x1="{x[0]:.1f}" x2="{x[1]:.1f}" y1="7" y2="7"/>'
        f'<circle class="dot" cx="{x[2]:.1f}" cy="7" r="3.5"/></svg>'
    )


def rate_bar(value: float, mark: float) -> str:
    """A pass rate as a bar with a mark at its target."""
    width, height = 120.0, 12.0
    kind = "good" if value >= mark else "bad"
    return (
        f'<svg class="small" viewBox="0 0 {width:.0f} {height:.0f}" aria-hidden="true">'
        f'<rect class="track" x="0" y="2" width="{width}" height="8" rx="2"/>'
        f'<rect class="{kind}" x="0" y="2" width="{width * value:.1f}" height="8" rx="2"/>'
        f'<line class="mark" x1="{width * mark:.1f}" x2="{width * mark:.1f}" y1="0" y2="{height}"/></svg>'
    )
