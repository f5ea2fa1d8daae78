"""The configuration of the REST API and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class TokenEntry(BaseModel):
    """One bearer token; exactly one of its last three keys is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=100, pattern=r"^[\w@.+-]+$", description="Unique; who acted, in incidents' histories."
    )
    role: Literal["viewer", "operator", "pusher"] = Field(
        description="viewer reads; operator also acts on incidents; pusher hands articles in, and scores."
    )
    token: SecretStr = Field(SecretStr(""), description="The token itself, 16 characters at least.")
    token_file: Path | None = Field(None, description="A file that holds it.")
    token_sha256: str = Field("", pattern=r"^([0-9a-fA-F]{64})?$", description="Its SHA-256, hexadecimal.")


class WebSection(BaseModel):
    """The REST API and the dashboard (role web). See docs/api.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(
        "127.0.0.1:8080", description="Address; '' or 'off' switches it off. Beyond this machine it needs tokens."
    )
    tokens: tuple[TokenEntry, ...] = Field((), description="[[web.tokens]]: who may do what.")
    hosts: tuple[str, ...] = Field(
        (), description="Host names that are answered for, e.g. 'news.bank.example'; this machine's names always are."
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins of other sites whose pages may use the API with a bearer token."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of reverse proxies whose X-Forwarded-For and -Proto count."
    )
    max_body: int = Field(8_388_608, ge=1024, le=268_435_456, description="Largest request body, in bytes.")
    rate: float = Field(50, gt=0, description="Requests a second of one client (token, else address) in the long run.")
    burst: float = Field(200, ge=1, description="Requests of one client at once.")
    max_streams: int = Field(100, ge=0, le=10_000, description="Streams of live events at the same time.")
    push: bool = Field(True, description="Take articles in; a process with only this role then needs the bus.")
