"""What the doctor learns of a state database, and that looking changes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from servers.postgres import PASSWORD, Cluster

from monitor.core.clock import ManualClock, SystemClock
from monitor.core.types import Put
from monitor.db.check import Finding
from monitor.state.opening import describe, open_postgres


@pytest.fixture
def url(postgres_cluster: Cluster) -> str:
    return postgres_cluster.url("doctored")


@pytest.fixture(autouse=True)
def database(postgres_cluster: Cluster) -> None:
    postgres_cluster.command("DROP DATABASE IF EXISTS doctored")
    postgres_cluster.command("CREATE DATABASE doctored")


def by_part(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.part.removeprefix("state: "): finding for finding in findings}


async def test_an_empty_database_and_then_a_used_one(url: str) -> None:
    for _ in range(2):  # looking makes nothing
        found = by_part(describe(url, password=PASSWORD))
        assert {finding.status for finding in found.values()} == {"ok"}, found
        assert found["tables"].finding == "Not there yet; `riskwire run` creates them."
    state = await open_postgres(url, password=PASSWORD)
    await state.apply([Put(kind="k", key="a", value={})])
    await state.close()
    found = by_part(describe(url, password=PASSWORD))
    assert {finding.status for finding in found.values()} == {"ok"}, found
    assert "1 documents" in found["tables"].finding
    assert set(found) == {"server", "encryption", "tables", "durability", "connections", "clock"}


async def test_a_newer_schema_fails(url: str, postgres_cluster: Cluster) -> None:
    await (await open_postgres(url, password=PASSWORD)).close()
    postgres_cluster.command("UPDATE riskwire.schema_version SET version = 7", "doctored")
    found = by_part(describe(url, password=PASSWORD))
    assert found["tables"].status == "fail"
    assert "version 7" in found["tables"].finding
    assert found["tables"].advice


async def test_rights_that_are_missing_are_named_with_the_grant(url: str, postgres_cluster: Cluster) -> None:
    await (await open_postgres(url, password=PASSWORD)).close()
    postgres_cluster.command("CREATE ROLE reader LOGIN PASSWORD 'reader' CONNECTION LIMIT 2")
    try:
        postgres_cluster.command("GRANT USAGE ON SCHEMA riskwire TO reader", "doctored")
        postgres_cluster.command("GRANT SELECT ON ALL TABLES IN SCHEMA riskwire TO reader", "doctored")
        found = by_part(describe(url.replace("riskwire@", "reader@"), password="reader"))
        assert found["tables"].status == "fail"
        assert "INSERT, UPDATE, DELETE" in found["tables"].finding
        assert "GRANT" in found["tables"].advice
        assert found["connections"].status == "warn"
    finally:
        postgres_cluster.command("DROP OWNED BY reader", "doctored")
        postgres_cluster.command("DROP ROLE reader")


async def test_read_only_and_a_wrong_clock(url: str, postgres_cluster: Cluster) -> None:
    postgres_cluster.command("ALTER DATABASE doctored SET default_transaction_read_only = on")
    for behind, status in ((15, "warn"), (300, "fail")):
        clock = ManualClock(SystemClock().now() - timedelta(seconds=behind))
        found = by_part(describe(url, password=PASSWORD, clock=clock))
        assert found["writing"].status == "fail"
        assert "read-write" in found["writing"].advice
        assert found["clock"].status == status
        assert "ahead" in found["clock"].finding
