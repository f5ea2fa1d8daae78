"""What becomes of a text before the tokenizer sees it. Stored in the artefact, so that training and serving agree."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from monitor.core.errors import ArtefactMismatchError
from monitor.core.text import clean, has_han

_URL = re.compile(r"(?:https?://|www\.)[^\s\u3000-\u9fff\uff00-\uffef]+", re.IGNORECASE)
_CASHTAG = re.compile(r"(?<!\w)\$[A-Za-z][A-Za-z.]{0,6}\b")
_LEAD = re.compile(r"^[\s\-–—:,;.|]+")
_NOT_WORD = re.compile(r"[\W_]+")
_TAG = re.compile(
    r"</?(?:a|abbr|article|b|blockquote|body|br|code|div|em|embed|font|form|h[1-6]|head|hr|html|i|iframe|img|input|ins|"
    r"li|link|mark|meta|object|ol|p|pre|s|script|section|small|span|strong|style|sub|sup|svg|table|tbody|td|th|title|tr|"
    r"u|ul|video)(?:[\s/][^<>]{0,500})?>",
    re.IGNORECASE,
)
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\u0334-\u0338]"
)
"""What a reader does not see or reads through: soft hyphens, joiners, marks of direction, overlays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """The steps, in order: HTML entities, Unicode NFKC, unseen characters, HTML tags, URLs, control characters, white
    space, cut, prefix, tokens.

    A title narrower than ``short_title`` columns (a Chinese character is two) says too little by itself; the first
    ``body_chars`` characters of the body are then added to it.
    """

    prefix: str = ""
    max_tokens: int = 128
    max_chars: int = 1000
    short_title: int = 24
    body_chars: int = 240

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Preprocessing:
        """Reads what :meth:`to_dict` wrote. Raises ArtefactMismatchError on unknown steps: to skip a step silently
        would change every score."""
        unknown = set(data) - set(cls.__dataclass_fields__)
        if unknown:
            raise ArtefactMismatchError(
                f"The artefact asks for unknown preprocessing: {', '.join(sorted(unknown))}.",
                hint="Upgrade Riskwire to the version that made the artefact.",
            )
        for name, value in data.items():
            wanted = str if name == "prefix" else int
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ArtefactMismatchError(f"The artefact's preprocessing.{name} must be {wanted.__name__}.")
        return cls(**data)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """A JSON object."""
        return asdict(self)

    def text(self, raw: str) -> str:
        """The text as the model reads it, without the prefix; empty when nothing but links is in it."""
        return clean(_URL.sub(" ", self._folded(raw)))[: self.max_chars].rstrip()

    def readable(self, raw: str) -> str:
        """As :meth:`text`, but what is nothing but a link is read as it stands; empty only when there is nothing."""
        return self.text(raw) or clean(self._folded(raw))[: self.max_chars].rstrip()

    def _folded(self, raw: str) -> str:
        head = raw.lstrip()[: self.max_chars * 8]  # the limit keeps a megabyte from costing anything
        return _TAG.sub(" ", _UNSEEN.sub("", unicodedata.normalize("NFKC", html.unescape(head))))

    def article(self, title: str, body: str = "") -> str:
        """Title, and the start of the body when the title is very short."""
        head = self.text(title)
        if width(head) >= self.short_title or not body:
            return head or self.readable(title)
        tail = self.text(body[: self.body_chars * 4])[: self.body_chars].rstrip()
        if not tail:
            return head or self.readable(title) or self.readable(body)
        if not head or tail.startswith(head):
            return tail
        return f"{head} {tail}" if head.endswith((".", "!", "?", "。", "!", "?", ":")) else f"{head}. {tail}"

    def model_input(self, text: str) -> str:
        """A prepared text with the encoder's prefix."""
        return self.prefix + text


def width(text: str) -> int:
    """Columns on a terminal, roughly: a Chinese character says as much as two letters at least."""
    return sum(2 if has_han(char) else 1 for char in text)


def without_cashtags(text: str) -> str:
    """The text without ``$AAPL``-like tags and the separators that they leave at the front."""
    return _LEAD.sub("", " ".join(_CASHTAG.sub(" ", text).split()))


def group_key(text: str) -> str:
    """The form under which two texts are the same for splitting: no case, links, cashtags, punctuation, white space."""
    folded = _URL.sub(" ", unicodedata.normalize("NFKC", html.unescape(text)))
    key = _NOT_WORD.sub("", _CASHTAG.sub(" ", folded).lower())
    return key or " ".join(text.split())
