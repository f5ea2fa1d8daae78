"""The API against its own description: whatever is sent, the answer is one that the description allows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from doubles import START, evidence, incident
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from store_tools import scored
from web_tools import GUARD, World

from monitor.web.server import WebServer

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
EXAMPLES = 15
"""For each operation; a few hundred requests in all."""


@pytest.fixture
def fuzzed(tmp_path, make) -> Iterator[str]:
    """The address of a server with some articles and an incident, on a loop of its own thread."""
    ready, address, stop = threading.Event(), [], []

    async def serve() -> None:
        world: World = await make(rate=1e9, burst=1e9)
        await world.put(*(scored(n, f"Bank {n} fails", published_at=START, fetched_at=START) for n in range(5)))
        await world.raise_incident(incident("one", evidence=(evidence(),)))
        world.context.health.ready = True
        server = WebServer(world.app, world.context, "127.0.0.1", 0)
        address.append(f"http://127.0.0.1:{await server.start()}")
        stop.append((asyncio.get_running_loop(), server))
        ready.set()
        await server.run()

    loop = asyncio.get_event_loop_policy().new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    yield address[0]
    running, server = stop[0]
    running.call_soon_threadsafe(server.stop)
    thread.join(30)
    loop.close()


@pytest.mark.timeout(300)
def test_no_request_gets_an_answer_that_is_not_described(fuzzed):
    schema = schemathesis.openapi.from_url(f"{fuzzed}/api/openapi.json").exclude(path="/api/v1/live")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 20
    for operation in operations:

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @operation_cases(operation)
        def asked(case):
            case.call_and_validate(headers=GUARD, checks=CHECKS)

        asked()


def operation_cases(operation):
    from hypothesis import given

    return given(case=operation.as_strategy())
