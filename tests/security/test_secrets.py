"""No secret shows: the daemon runs with a canary in every secret that can be set, meets errors everywhere, and nothing
that it writes, serves or keeps holds one of them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import get_args

import aiohttp
import pytest
from aiohttp import web
from doubles import incident
from e2e_tools import RISKWIRE, command
from pydantic import BaseModel, SecretStr

from alerts.outbox import outbox_rows
from monitor.config import Settings, load_settings
from monitor.core.clock import SystemClock
from monitor.core.codec import incident_to_dict
from monitor.core.types import Put
from monitor.storage import open_storage

CANARY = "canary7f3a"
NOTIFIERS = ("hook", "page", "mail", "chat", "team")
CONFIG = """
data_dir = "data"
[ingest]
spread = 0
backoff_base = 1
allow_networks = ["127.0.0.0/8"]
[observe]
listen = "127.0.0.1:{port}"
log_level = "debug"
log_format = "json"
{secrets}
[[sources]]
name = "keyed"
url = "{url}/feed?api_key={canary}-query"
interval = 1
min_interval = 1
[sources.headers]
X-Api-Key = "{canary}-header"
[[sources]]
name = "login"
url = "{url}/broken"
interval = 1
min_interval = 1
[sources.headers]
Authorization = "Bearer {canary}-login"
[[sources]]
name = "pushed"
kind = "push"
port = {push}
token = "{canary}-push-token-of-some-length"
[[notifiers]]
name = "hook"
kind = "webhook"
url = "{url}/hook/{canary}-path"
secret = "{canary}-shared"
bearer = "{canary}-bearer"
[[notifiers]]
name = "page"
kind = "pagerduty"
url = "{url}/page"
routing_key = "{canary}0123456789012345678901"
[[notifiers]]
name = "mail"
kind = "email"
host = "127.0.0.1"
port = 9
security = "starttls"
username = "u"
password = "{canary}-mail"
from = "a@bank.example"
to = ["b@bank.example"]
[[notifiers]]
name = "chat"
kind = "slack"
token = "xoxb-{canary}-slack"
channel = "C0123456789"
base_url = "{url}/slack/"
[[notifiers]]
name = "team"
kind = "teams"
url = "{url}/team/{canary}-workflow"
"""


def _secret_fields() -> dict[str, list[str]]:
    """Every key of type SecretStr, by section."""
    found: dict[str, list[str]] = {}
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, inner in model.model_fields.items():
                if SecretStr in (inner.annotation, *get_args(inner.annotation)):
                    found.setdefault(section, []).append(name)
    return found


def _secrets(url: str) -> str:
    """TOML with a canary in each of them. The state's address is left out: it would be connected to; see
    tests/unit/state."""
    lines: list[str] = []
    for section, names in _secret_fields().items():
        if section == "state":
            continue
        if section == "observe":  # its section is open in the file
            lines = [f'{name} = "{url}/ping/{CANARY}-ping"' for name in names] + lines
            continue
        lines.append(f"[{section}]")
        lines += [f'{name} = "{CANARY}-{section}-{name}"' for name in names]
    return "\n".join(lines)


@pytest.fixture
async def hostile(unused_tcp_port_factory) -> object:  # type: ignore[no-untyped-def]
    """Answers everything with an error that gives back what it was sent."""

    async def handle(request: web.Request) -> web.Response:
        told = f"no: {request.path_qs} {dict(request.headers)} {(await request.read()).decode(errors='replace')}"
        return web.Response(status=400 if "broken" not in request.path else 500, text=told, reason="Bad")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0])
    await runner.cleanup()


@pytest.fixture
def config(tmp_path: Path, hostile: str, unused_tcp_port_factory) -> tuple[Path, int, int]:  # type: ignore[no-untyped-def]
    port, push = unused_tcp_port_factory(), unused_tcp_port_factory()
    path = tmp_path / "riskwire.toml"
    path.write_text(CONFIG.format(port=port, push=push, url=hostile, canary=CANARY, secrets=_secrets(hostile)), "utf-8")
    return path, port, push


async def _until(port: int, *wanted: str) -> str:
    async with asyncio.timeout(90), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = await answer.text()
            except aiohttp.ClientConnectionError:
                text = ""
            if all(
                any(line.startswith(one) and not line.endswith(" 0.0") for line in text.splitlines()) for one in wanted
            ):
                return text
            await asyncio.sleep(0.1)


async def test_no_secret_shows_whatever_goes_wrong(config: tuple[Path, int, int], tmp_path: Path) -> None:
    path, port, push = config
    settings = load_settings(path)
    async with open_storage(settings, SystemClock()) as storage:
        one = incident("surge")
        await storage.state.apply(
            [Put(kind="incident", key=one.id, value=incident_to_dict(one)), *outbox_rows(one, NOTIFIERS)]
        )
    child = await asyncio.create_subprocess_exec(
        str(RISKWIRE), "run", "--role", "ingest", "--role", "notify", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        metrics = await _until(
            port, 'riskwire_notifications_total{outcome="failed"', 'riskwire_notifications_total{outcome="retry"',
            'riskwire_source_failures{source="keyed"', 'riskwire_source_failures{source="login"',
        )  # fmt: skip
        async with aiohttp.ClientSession() as session:
            for token in ("wrong", f"{CANARY}-almost"):
                async with session.post(
                    f"http://127.0.0.1:{push}/v1/articles", data="{", headers={"Authorization": f"Bearer {token}"}
                ) as answer:
                    assert answer.status == 401
                    told = await answer.text()
            for page in ("healthz", "readyz"):
                async with session.get(f"http://127.0.0.1:{port}/{page}") as answer:
                    told += await answer.text()
    finally:
        child.send_signal(signal.SIGTERM)
        out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    log = (out + err).decode()
    assert "keyed" in log, "there is a log to look at"
    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    assert b"surge" in kept, "there is a state to look at"
    for name, text in (("log", log), ("metrics", metrics), ("answers", told), ("data", kept.decode(errors="replace"))):
        assert CANARY not in text, f"{name}: …{text[max(0, text.find(CANARY) - 200) : text.find(CANARY) + 60]}"


@pytest.mark.parametrize("words", [("config", "show"), ("doctor",), ("kibana", "import")], ids=" ".join)
async def test_no_command_shows_one(config: tuple[Path, int, int], tmp_path: Path, words: tuple[str, ...]) -> None:
    result = await command(*words, cwd=tmp_path)
    text = result.out + result.err
    assert text
    assert CANARY not in text, text[max(0, text.find(CANARY) - 300) : text.find(CANARY) + 60]


async def test_a_mistake_beside_a_secret_does_not_show_it(config: tuple[Path, int, int], tmp_path: Path) -> None:
    path = config[0]
    path.write_text(path.read_text("utf-8").replace(f'secret = "{CANARY}-shared"', f'secret = ["{CANARY}"]'), "utf-8")
    result = await command("run", cwd=tmp_path)
    assert result.code == 2
    assert CANARY not in result.out + result.err


def test_every_section_with_secrets_is_covered() -> None:
    fields = _secret_fields()
    assert {"kafka", "elastic", "kibana", "observe", "state"} <= set(fields)
    assert set(fields) - {"state"} <= {line.strip("[]") for line in _secrets("u").splitlines()} | {"observe"}
