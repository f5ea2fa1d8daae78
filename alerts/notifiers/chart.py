"""A small chart as PNG: negative stories per hour as bars, over the band that was expected.

Drawn with numpy and zlib (both are there anyway): a plotting library would be a large dependency for some rectangles.
Format: PNG (ISO/IEC 15948), eight-bit palette.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.types import TrendPoint

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 12, 24
_WHITE, _GRID, _BAND, _LINE, _BAR, _HIGH, _INK = range(7)
_PALETTE = bytes.fromhex("ffffff e5e7eb bfdbfe 2563eb 9ca3af dc2626 374151".replace(" ", ""))
# Five rows of three pixels, one octal digit a row.
_GLYPHS = {"0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757",
           "7": "71222", "8": "75757", "9": "75717", ":": "02020", ".": "00002", "k": "45655"}  # fmt: skip
_Image = NDArray[np.uint8]


def chart(trend: Sequence[TrendPoint]) -> bytes:
    """The chart as a PNG file. Bars above the band are red; hours are UTC. Raises ValueError without points."""
    if not trend:
        raise ValueError("a chart needs points")
    image = np.full((HEIGHT, WIDTH), _WHITE, dtype=np.uint8)
    top = _step(max(1.0, *(max(p.observed, p.high) for p in trend)))
    bottom, span = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP

    def row(value: float) -> int:
        return bottom - round(span * min(value, top) / top)

    for part in range(5):
        value = top * part / 4
        image[row(value), _LEFT : WIDTH - _RIGHT] = _GRID
        _write(image, _number(value), row(value) - 5, right=_LEFT - 6)
    wide = (WIDTH - _LEFT - _RIGHT) / len(trend)
    for place, point in enumerate(trend):
        left, right = _LEFT + round(place * wide), _LEFT + round((place + 1) * wide)
        image[row(point.high) : row(point.low) + 1, left:right] = _BAND
    for place, point in enumerate(trend):
        left, right = _LEFT + round(place * wide), _LEFT + round((place + 1) * wide)
        gap = max(1, (right - left) // 5)
        if point.observed > 0:
            colour = _HIGH if point.observed > point.high else _BAR
            image[row(point.observed) : bottom, left + gap : max(left + gap + 1, right - gap)] = colour
        image[max(0, row(point.expected) - 1) : row(point.expected) + 1, left:right] = _LINE
        if point.start.hour % 6 == 0 or (len(trend) > 1 and place == 0):
            _write(image, f"{point.start:%H:%M}", bottom + 8, right=min(WIDTH - 1, left + 32))
    image[bottom, _LEFT : WIDTH - _RIGHT] = _INK
    return _png(image)


def _step(value: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10, 20 … that is not less."""
    power = 1.0
    while True:
        for factor in (1, 2, 4, 6, 8):
            if value <= factor * power:
                return factor * power
        power *= 10.0


def _number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _write(image: _Image, text: str, top: int, *, right: int) -> None:
    """Digits at double size, ending at column ``right``."""
    left = right - 8 * len(text)
    for letter in text:
        for line, bits in enumerate(_GLYPHS[letter]):
            for column in range(3):
                if int(bits) & (4 >> column) and left >= 0:
                    at, beside = top + 2 * line, left + 2 * column
                    image[max(0, at) : at + 2, beside : beside + 2] = _INK
        left += 8


def _png(image: _Image) -> bytes:
    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = np.zeros((image.shape[0], image.shape[1] + 1), dtype=np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = image
    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 3, 0, 0, 0))
        + piece(b"PLTE", _PALETTE)
        + piece(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + piece(b"IEND", b"")
    )
