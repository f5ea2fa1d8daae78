"""Names of traces (W3C Trace Context, https://www.w3.org/TR/trace-context/).

The trace of an article, and that of an incident, is named by its own id: whoever knows the id knows the trace, on every
machine and years later, without having stored anything. So an incident leads to the traces of its driving articles.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
"""The header of a bus record that carries the context."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """A span's place: ids in lower-case hex, 32 and 16 digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def header(self) -> str:
        """The value of ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @classmethod
    def parse(cls, text: str) -> TraceContext | None:
        """From a ``traceparent``; None when it is not valid (then, says W3C, a new trace begins)."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & 1))


def trace_of(identity: str) -> TraceContext:
    """The trace of an article or incident and its first span. The ids are hashes of ``identity``: as evenly spread as
    random ones, which sampling by trace id relies on."""
    text = identity.encode("utf-8", "surrogatepass")
    hashed = hashlib.blake2b(text, digest_size=24, person=b"riskwire-trace").hexdigest()
    return TraceContext(trace_id=hashed[:32], span_id=hashed[32:])
