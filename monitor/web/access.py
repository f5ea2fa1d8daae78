"""Who may do what: bearer tokens with roles, sessions of the dashboard, and who is let in without either.

Tokens are compared by their SHA-256, all of them every time and in constant time, so that an answer's duration says
nothing about any of them. A session is a signed statement (name of the token, when it ends), so that it holds over
restarts and replicas, and ends when its token is removed or replaced.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from monitor.web.problems import Problem

COOKIE = "riskwire_session"
GUARD_HEADER = "X-Riskwire-Request"
"""A state-changing request that a browser could make by itself must carry it: another site's pages cannot add it."""
SESSION_SECONDS = 12 * 3600
TOKEN_LIMIT = 4096


class Role(StrEnum):
    """What a token is for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    PUSHER = "pusher"


_GRANTS = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.VIEWER, Role.OPERATOR}),
    Role.PUSHER: frozenset({Role.PUSHER}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token: its name in logs and histories, its role, and the SHA-256 of its text."""

    name: str
    role: Role
    sha256: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, role: Role, text: str) -> Token:
        """From the token itself."""
        return cls(name=name, role=role, sha256=hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. ``role`` is what the token is for, ``roles`` what it may do."""

    name: str
    role: Role
    roles: frozenset[Role]
    by_cookie: bool = False

    def may(self, *roles: Role) -> bool:
        """Whether one of ``roles`` is among its own."""
        return not self.roles.isdisjoint(roles)


LOCAL = Principal(name="local", role=Role.OPERATOR, roles=frozenset(Role), by_cookie=True)
"""Everybody on this machine, where no token is configured. Guarded as a cookie is: a browser comes without asking."""


class Access:
    """The configured tokens. Without any, everybody who reaches the (loopback) address may do everything.

    ``key`` signs sessions.
    """

    def __init__(self, tokens: Sequence[Token], key: bytes) -> None:
        self._tokens = tuple(tokens)
        self._key = key

    @property
    def required(self) -> bool:
        """Whether a login is needed."""
        return bool(self._tokens)

    def by_token(self, text: str) -> Principal | None:
        """Whose token this is."""
        given = hashlib.sha256(text[:TOKEN_LIMIT].encode("utf-8", "surrogateescape")).digest()
        found: Token | None = None
        for token in self._tokens:  # all of them: the time it takes is the same whichever it is
            if hmac.compare_digest(token.sha256, given):
                found = token
        return _principal(found) if found is not None and len(text) <= TOKEN_LIMIT else None

    def session(self, principal: Principal, now: float) -> str:
        """The value of a cookie for ``principal`` from Unix time ``now`` on."""
        body = f"{int(now) + SESSION_SECONDS}.{principal.name}".encode()
        return base64.urlsafe_b64encode(body).decode().rstrip("=") + "." + self._sign(body, self._of(principal.name))

    def by_session(self, value: str, now: float) -> Principal | None:
        """Whose session this is; None when it has ended, was changed, or its token is no more."""
        encoded, _, signature = value[:TOKEN_LIMIT].partition(".")
        try:
            body = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
            ends, _, name = body.decode().partition(".")
            alive = int(ends) > now
        except ValueError:
            return None
        token = self._of(name)
        right = hmac.compare_digest(self._sign(body, token).encode(), signature.encode("utf-8", "replace"))
        return _principal(token, by_cookie=True) if right and alive and token is not None else None

    def who(self, request: Request, now: float) -> Principal | None:
        """Who makes the request: by its Authorization header, else by its cookie, else the local user."""
        header = request.headers.get("authorization")
        if not self.required:
            return LOCAL
        if header is not None:
            scheme, _, text = header.partition(" ")
            return self.by_token(text.strip()) if scheme.lower() == "bearer" else None
        cookie = request.cookies.get(COOKIE)
        return self.by_session(cookie, now) if cookie else None

    def _of(self, name: str) -> Token | None:
        return next((token for token in self._tokens if token.name == name), None)

    def _sign(self, body: bytes, token: Token | None) -> str:
        key = self._key + (token.sha256 if token is not None else b"")
        return hmac.new(key, body, hashlib.sha256).hexdigest()


def _principal(token: Token, *, by_cookie: bool = False) -> Principal:
    return Principal(name=token.name, role=token.role, roles=_GRANTS[token.role], by_cookie=by_cookie)


def guard(request: Request) -> None:
    """Raises Problem 403 when the request lacks the header that only our own pages send."""
    if GUARD_HEADER.lower() not in request.headers:
        raise Problem(
            403, f"A request of a browser that changes something needs the header {GUARD_HEADER}.",
            hint=f"Send '{GUARD_HEADER}: 1'.",
        )  # fmt: skip


class _Allowed:
    def __init__(self, *roles: Role) -> None:
        self.roles = roles

    def __call__(self, request: Request) -> Principal:
        principal: Principal | None = request.state.principal
        if principal is None:
            raise Problem(
                401, "This needs a login or a bearer token.", headers={"WWW-Authenticate": "Bearer"},
                hint="Send 'Authorization: Bearer …', or log in at /login.",
            )  # fmt: skip
        if not principal.may(*self.roles):
            raise Problem(403, f"The role '{principal.role}' may not do this; it needs: {', '.join(self.roles)}.")
        if principal.by_cookie and request.method not in ("GET", "HEAD"):
            guard(request)
        return principal


Viewer = Annotated[Principal, Depends(_Allowed(Role.VIEWER))]
Operator = Annotated[Principal, Depends(_Allowed(Role.OPERATOR))]
Pusher = Annotated[Principal, Depends(_Allowed(Role.PUSHER))]
Scoring = Annotated[Principal, Depends(_Allowed(Role.VIEWER, Role.PUSHER))]
Anyone = Annotated[Principal, Depends(_Allowed(*Role))]
