"""The import against a scripted server that answers as Kibana's documentation says
(https://www.elastic.co/docs/api/doc/kibana/operation/operation-post-saved-objects-import)."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cli_tools import invoke
from click.testing import Result

from monitor.core.errors import ConfigError, StorageError, UnavailableError, UsageError
from monitor.kibana import importing
from monitor.kibana.build import build
from monitor.kibana.config import KibanaConfig
from monitor.kibana.importing import import_objects
from monitor.kibana.objects import lines

OBJECTS = [one for file in build().values() for one in file]
_META = {"icon": "dashboardApp", "title": "x"}


class ScriptedKibana:
    """Keeps what was imported, as Kibana does with overwrite=true; ``replies`` are given first, one by one."""

    def __init__(self) -> None:
        self.replies: list[Callable[[], web.Response]] = []
        self.asked: list[dict[str, Any]] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        content = b""
        if request.content_type == "multipart/form-data":
            part = await (await request.multipart()).next()
            assert part is not None
            content = await part.read()  # type: ignore[union-attr]
            self.asked.append({"part": part.name, "file": part.filename})  # type: ignore[union-attr]
        else:
            self.asked.append({})
        self.asked[-1] |= {"path": request.path, "query": dict(request.query), "headers": dict(request.headers)}
        if self.replies:
            return self.replies.pop(0)()
        assert request.headers["kbn-xsrf"]
        assert request.query == {"overwrite": "true"}
        objects = [json.loads(line) for line in content.decode().splitlines()]
        for one in objects:
            self.objects[f"{one['type']}/{one['id']}"] = one
        results = [{"id": one["id"], "type": one["type"], "meta": _META, "managed": False} for one in objects]
        return web.json_response(
            {"successCount": len(objects), "success": True, "warnings": [], "successResults": results}
        )


@pytest.fixture
async def kibana() -> AsyncIterator[ScriptedKibana]:
    server = ScriptedKibana()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = "http://{}:{}".format(*runner.addresses[0])
    yield server
    await runner.cleanup()


def _json(status: int, body: Any, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.json_response(body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_everything_is_imported_in_one_request_and_again_to_the_same_end(kibana: ScriptedKibana) -> None:
    config = KibanaConfig(url=f"{kibana.url}/", space="risk", api_key="a2V5")
    report = await import_objects(config, OBJECTS)
    assert (report.imported, report.refused) == (len(OBJECTS), ())
    once = dict(kibana.objects)
    await import_objects(config, OBJECTS)
    assert kibana.objects == once
    assert len(once) == len(OBJECTS)
    asked = kibana.asked[0]
    assert asked["path"] == "/s/risk/api/saved_objects/_import"
    assert asked["part"] == "file"
    assert asked["file"].endswith(".ndjson")
    assert asked["headers"]["Authorization"] == "ApiKey a2V5"


async def test_basic_login_goes_as_utf_8(kibana: ScriptedKibana) -> None:
    await import_objects(KibanaConfig(url=kibana.url, username="ana", password="pä:ss"), OBJECTS[:1])
    assert kibana.asked[0]["headers"]["Authorization"] == "Basic " + base64.b64encode("ana:pä:ss".encode()).decode()
    assert kibana.asked[0]["path"] == "/api/saved_objects/_import"


async def test_what_single_objects_meet_is_told_object_by_object(kibana: ScriptedKibana) -> None:
    error = {
        "missing_references": {"type": "missing_references", "references": [{"type": "index-pattern", "id": "gone"}]},
        "conflict": {"type": "conflict"},
        "ambiguous": {"type": "ambiguous_conflict", "destinations": []},
        "type": {"type": "unsupported_type"},
        "other": {"type": "unknown", "message": "Document has a newer version", "statusCode": 422, "error": "x"},
    }
    errors = [{"id": key, "type": "lens", "title": "t", "meta": _META, "error": one} for key, one in error.items()]
    kibana.replies = [_json(200, {"successCount": 2, "success": False, "errors": errors})]
    report = await import_objects(KibanaConfig(url=kibana.url), OBJECTS)
    assert report.imported == 2
    assert {one.id: one.reason for one in report.refused} == {
        "missing_references": "it refers to what is not there: index-pattern gone",
        "conflict": "conflict",
        "ambiguous": "ambiguous conflict",
        "type": "this Kibana does not know the type",
        "other": "Document has a newer version (HTTP 422)",
    }
    kibana.replies = [_json(200, {"successCount": 0, "success": False})]
    assert len((await import_objects(KibanaConfig(url=kibana.url), OBJECTS)).refused) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (_json(401, {"statusCode": 401, "error": "Unauthorized", "message": "a2V5"}), StorageError, "login"),
        (_json(403, {"statusCode": 403, "message": "Unable to bulk_create dashboard"}), StorageError, "bulk_create"),
        (_json(404, {"statusCode": 404, "message": "Not Found"}), StorageError, "no import"),
        (_json(400, {"statusCode": 400, "message": "Request must contain a kbn-xsrf"}), StorageError, "kbn-xsrf"),
        (_json(413, {"message": "Payload too large"}), StorageError, "too large"),
        (_json(503, {"message": "License is not available."}), UnavailableError, "License"),
        (_json(429, {}), UnavailableError, "429"),
        (lambda: web.Response(status=503, text="Kibana server is not ready yet"), UnavailableError, "503"),
        (lambda: web.Response(status=302, headers={"location": "/login"}), StorageError, "not Kibana"),
        (lambda: web.Response(text="<html>a proxy's page</html>"), StorageError, "not Kibana"),
        (lambda: web.json_response([1]), StorageError, "not Kibana"),
    ],
)
async def test_answers_that_went_wrong_say_the_next_step_and_no_secret(
    kibana: ScriptedKibana, reply: Callable[[], web.Response], kind: type[StorageError], said: str
) -> None:
    kibana.replies = [reply]
    with pytest.raises(kind, match=said) as caught:
        await import_objects(KibanaConfig(url=kibana.url, api_key="a2V5"), OBJECTS[:1])
    assert caught.value.hint
    assert "a2V5" not in str(caught.value)


async def test_a_kibana_that_starts_is_waited_for(kibana: ScriptedKibana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "PAUSE", 0.0)
    kibana.replies = [lambda: web.Response(status=503, text="Kibana server is not ready yet")] * 2
    report = await import_objects(KibanaConfig(url=kibana.url), OBJECTS, wait=30)
    assert report.imported == len(OBJECTS)
    assert len(kibana.asked) == 3


async def test_a_kibana_that_is_not_there_or_never_answers(kibana: ScriptedKibana) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await import_objects(KibanaConfig(url="http://127.0.0.1:9"), OBJECTS)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections into its queue, answers none
        config = KibanaConfig(url="http://{}:{}".format(*silent.getsockname()), timeout=0.3)
        with pytest.raises(UnavailableError, match="did not answer"):
            await import_objects(config, OBJECTS)


async def test_the_command_reads_its_secret_from_a_file_and_ends_with_1_when_an_object_was_refused(
    kibana: ScriptedKibana, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("a2V5\n")
    file = tmp_path / "riskwire.toml"
    file.write_text(f'[kibana]\nurl = "{kibana.url}"\nspace = "risk"\napi_key_file = "key"\n')

    def command(*words: str) -> Result:
        return invoke("kibana", "import", "-c", str(file), *words)

    result = await asyncio.to_thread(command)
    assert result.exit_code == 0, result.output
    assert f"Imported {len(OBJECTS)} of {len(OBJECTS)}" in result.output
    assert kibana.asked[0]["headers"]["Authorization"] == "ApiKey a2V5"
    assert kibana.asked[0]["path"].startswith("/s/risk/")
    conflict = {"id": "x", "type": "lens", "error": {"type": "conflict"}}
    kibana.replies = [_json(200, {"successCount": 1, "success": False, "errors": [conflict]})]
    result = await asyncio.to_thread(command, "--json", "--space", "")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "imported": 1, "refused": [{"type": "lens", "id": "x", "reason": "conflict"}],
    }  # fmt: skip
    assert kibana.asked[1]["path"] == "/api/saved_objects/_import"


def test_the_build_command_writes_what_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "riskwire.toml"
    file.write_text('[elastic]\nprefix = "desk"\n')
    result = invoke("kibana", "build", "-c", str(file), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    for name, objects in build("desk").items():
        assert (tmp_path / "out" / name).read_text("utf-8") == lines(objects)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        invoke("kibana", "build", "-c", str(file), "--out", str(tmp_path / "file"))


async def test_an_authority_that_cannot_be_read_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        await import_objects(KibanaConfig(url="https://127.0.0.1:1", ca_file=tmp_path / "none.pem"), OBJECTS)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "kibana:5601"}, {"url": "https://u:p@kibana"}, {"url": "https://kibana?x=1"}, {"url": "http://h:x"},
        {"api_key": "k", "username": "u"}, {"api_key": "two words"}, {"api_key": "k\nx"}, {"username": "a:b"},
    ],
)  # fmt: skip
def test_contradicting_settings_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        KibanaConfig(**fields)  # type: ignore[arg-type]
    assert "u:p" not in str(caught.value)


def test_secrets_are_not_in_the_repr() -> None:
    shown = repr(KibanaConfig(api_key="canary-1")) + repr(KibanaConfig(username="u", password="canary-2"))
    assert "canary" not in shown
