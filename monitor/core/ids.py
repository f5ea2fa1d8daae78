"""Stable identities: the same article has the same id however often and from wherever it is fetched again."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_TRACKING = ("utm_", "at_", "ns_")
_TRACKING_EXACT = frozenset(
    {"fbclid", "gclid", "dclid", "msclkid", "mc_cid", "mc_eid", "igshid", "cmpid", "ocid", "ref_src"}
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def digest(*parts: str, size: int = 16) -> str:
    """Hex BLAKE2b of the parts, each length-prefixed so that ("ab", "c") differs from ("a", "bc")."""
    hasher = hashlib.blake2b(digest_size=size)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        hasher.update(len(raw).to_bytes(8, "big"))
        hasher.update(raw)
    return hasher.hexdigest()


def canonical_url(url: str) -> str:
    """The URL without what does not name the page: fragment, tracking parameters, default port, letter case of
    scheme and host, order of parameters. An unparsable URL comes back stripped but otherwise as it is."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    if not parts.scheme or not parts.hostname:
        return url
    scheme = parts.scheme.lower()
    host = parts.hostname.lower().rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    if port and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    query = sorted(
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not name.lower().startswith(_TRACKING) and name.lower() not in _TRACKING_EXACT
    )
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return urlunsplit((scheme, host, path, urlencode(query), ""))


def article_id(source: str, *, guid: str = "", url: str = "", title: str = "", published: str = "") -> str:
    """The id of an article: a hash of its source and its guid, else of its canonical URL, else of title and date.

    A guid or URL makes the id independent of the title, so that an edited title is not a new article.
    """
    if guid.strip():
        return digest(source, "guid", guid.strip())
    if url.strip():
        return digest(source, "url", canonical_url(url))
    return digest(source, "text", " ".join(title.split()), published)
