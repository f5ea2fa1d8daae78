"""The check of the API."""

from __future__ import annotations

from aiohttp import web

from monitor.config import Settings
from monitor.doctor.web import web_checks


async def verdict(**keys: object):
    (check,) = web_checks(Settings(web=keys))
    (found,) = await check.look()
    return found


async def test_a_listening_api_is_well_and_another_program_is_not(unused_tcp_port_factory) -> None:
    for status, level in ((200, "ok"), (404, "fail")):
        port = unused_tcp_port_factory()

        async def answer(_: web.Request, status: int = status) -> web.Response:
            return web.Response(status=status)

        app = web.Application()
        app.router.add_get("/healthz", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            assert (await verdict(listen=f"127.0.0.1:{port}")).status == level
        finally:
            await runner.cleanup()


async def test_nothing_there_is_a_warning_and_a_missing_token_a_failure(unused_tcp_port: int) -> None:
    assert (await verdict(listen=f"127.0.0.1:{unused_tcp_port}")).status == "warn"
    assert (await verdict(listen="0.0.0.0:8080")).status == "fail"
    assert web_checks(Settings(web={"listen": "off"})) == []
