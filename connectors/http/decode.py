"""Content codings, decoded as a stream with a limit on what comes out.

aiohttp could decode for us, but then a bomb is met only after it has gone off; here no call ever yields more than
``STEP`` bytes, and the sum is checked after each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]

from monitor.core.errors import FetchError

STEP = 256 * 1024
ACCEPT_ENCODING = "gzip, deflate, br"


class Decoder(Protocol):
    """Decodes one content coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes of ``data``, in pieces of about ``STEP`` bytes at most."""

    def finish(self) -> None:
        """Raises FetchError when the stream ended too early."""


def _broken(coding: str, reason: object) -> FetchError:
    return FetchError(f"the {coding} coding of the response is damaged: {reason}.", code="bad_encoding")


class _Zlib:
    """gzip (also several members), and deflate in both its spellings (RFC 9110 8.4.1.2 and raw)."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._inner: zlib._Decompress | None = None
        self._plain = False
        self._start = b""
        self._done = False

    def _begin(self, data: bytes) -> None:
        if self._coding == "gzip":
            # Some servers label plain text as gzip.
            self._plain = not data.startswith(b"\x1f\x8b")
            self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        else:
            zlib_header = data[0] & 0x0F == 8 and (data[0] * 256 + data[1]) % 31 == 0
            self._inner = zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            self._start += data
            if len(self._start) < 2:
                return
            data, self._start = self._start, b""
            self._begin(data)
        assert self._inner is not None
        if self._plain:
            yield data
            return
        while data:
            if self._inner.eof:
                if self._coding != "gzip" or not data.startswith(b"\x1f\x8b"):
                    return  # padding after the end is common and harmless
                self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                piece = self._inner.decompress(data, STEP)
            except zlib.error as error:
                raise _broken(self._coding, error) from error
            yield piece
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail

    def finish(self) -> None:
        if self._inner is None:
            if self._start:
                raise _broken(self._coding, "it ends too early")
        elif not self._plain and not self._inner.eof:
            raise _broken(self._coding, "it ends too early")


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._fed = True
        try:
            while data or not self._inner.can_accept_more_data():
                piece = self._inner.process(data, output_buffer_limit=STEP)
                data = b""
                if piece:
                    yield piece
                elif self._inner.is_finished():
                    return
        except brotli.error as error:
            raise _broken("br", error) from error

    def finish(self) -> None:
        if self._fed and not self._inner.is_finished():
            raise _broken("br", "it ends too early")


class _Chain:
    """Several codings, undone in the reverse order of their application."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> Iterator[bytes]:
        return self._through(self._decoders, data)

    def _through(self, decoders: list[Decoder], data: bytes) -> Iterator[bytes]:
        if not decoders:
            yield data
            return
        for piece in decoders[0].feed(data):
            yield from self._through(decoders[1:], piece)

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()


def decoder_for(header: str) -> Decoder:
    """The decoder for a Content-Encoding header. Raises FetchError for an unknown coding or more than two."""
    names = [name.strip().lower() for name in header.split(",") if name.strip()]
    decoders: list[Decoder] = []
    for name in reversed([name for name in names if name not in ("identity", "none", "utf-8")]):
        if name in ("gzip", "x-gzip"):
            decoders.append(_Zlib("gzip"))
        elif name == "deflate":
            decoders.append(_Zlib("deflate"))
        elif name == "br":
            decoders.append(_Brotli())
        else:
            raise FetchError(f"the response has an unknown content coding {name[:20]!r}.", code="bad_encoding")
    if len(decoders) > 2:
        raise FetchError(f"the response is coded {len(decoders)} times over.", code="bad_encoding")
    return _Chain(decoders)
