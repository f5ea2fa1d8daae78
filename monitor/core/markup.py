"""What every HTML report shares: escaping of foreign text, and a page that loads nothing and runs nothing."""

from __future__ import annotations

import html
import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def escape(value: object) -> str:
    """Foreign text as HTML text or attribute value; control, bidirectional and surrogate characters become spaces."""
    return html.escape(_CONTROL.sub(" ", str(value)), quote=True)


def page(*, title: str, style: str, body: str, lang: str = "en") -> str:
    """A whole document in one string. Its security policy forbids scripts and anything from elsewhere."""
    return (
        f'<!doctype html>\n<html lang="{escape(lang)}"><head><meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>\n{body}\n</body></html>\n"
    )
