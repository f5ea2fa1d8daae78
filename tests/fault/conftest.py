"""Makes the modules beside the fault tests importable, and names the servers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.postgres import postgres_cluster, postgres_place  # noqa: F401 - fixtures

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("matrix", "rig")

if TYPE_CHECKING:
    from rig import Servers


@pytest.fixture
def servers(kafka_server: str, elastic_server: str, request: pytest.FixtureRequest) -> Servers:
    """Where the servers are; PostgreSQL only for tests whose parameter of that name is true."""
    from rig import Servers

    callspec = getattr(request.node, "callspec", None)
    wanted = callspec is not None and callspec.params.get("postgres")
    place = request.getfixturevalue("postgres_place") if wanted else None
    return Servers(kafka=kafka_server, elastic=elastic_server, postgres=place)
