"""Elasticsearch: every node by its address, then the cluster by :mod:`monitor.store.elastic_check`, then the clocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from monitor.core.clock import Clock
from monitor.doctor.skew import Skew, judge
from monitor.doctor.verdict import Check, Verdict, ok
from monitor.store.elastic_check import check_with
from monitor.store.elastic_client import ElasticClient
from monitor.store.elastic_config import ElasticConfig
from monitor.store.elastic_skew import measure

_PATIENCE_SECONDS = 6.0
"""For one request; below a check's own limit, so that the reason is heard and not only that it took too long."""

_Look = Callable[[ElasticClient], Awaitable[Sequence[Verdict]]]


def elastic_checks(config: ElasticConfig, clock: Clock) -> list[Check]:
    """Checks of the cluster that ``config`` names. Nothing is written."""
    quick = replace(config, timeout=min(config.timeout, _PATIENCE_SECONDS))

    def check(part: str, look: _Look, asked: ElasticConfig = quick) -> Check:
        return Check(
            part=part,
            look=partial(_with_client, asked, look),
            remedy=f"{asked.address} answers late or never: see its log, its load and GET _nodes/hot_threads.",
        )

    nodes = [(f"elastic: {urlsplit(url).netloc}", replace(quick, urls=(url,))) for url in config.urls]
    return [
        *(check(part, partial(_node, part), asked) for part, asked in nodes if len(nodes) > 1),
        check("elastic", partial(_cluster, clock)),
        check("clock: elastic", partial(_clock, clock)),
    ]


async def _with_client(config: ElasticConfig, look: _Look) -> Sequence[Verdict]:
    client = ElasticClient(config)
    try:
        return await look(client)
    finally:
        await client.close()


async def _node(part: str, client: ElasticClient) -> list[Verdict]:
    await client.check_server()
    return [ok(part, f"Elasticsearch {'.'.join(map(str, client.version))} answers.")]


async def _cluster(clock: Clock, client: ElasticClient) -> list[Verdict]:
    return [
        Verdict(
            part=f"elastic: {item.part}",
            status=item.status,
            finding=item.message,
            advice=item.hint or ("" if item.status == "ok" else "See docs/elastic.md."),
        )
        for item in await check_with(client, clock)
        if item.part != "clock"  # judged below, by the bounds that hold for every clock
    ]


async def _clock(clock: Clock, client: ElasticClient) -> list[Verdict]:
    """By the time that the cluster's nodes tell; Elasticsearch's answers carry no Date header."""
    await client.check_server()
    part, asked = "clock: elastic", clock.now()
    ahead = await measure(client, clock)
    if ahead is None:
        return [ok(part, "The cluster does not tell its time (or not to this login).")]
    half = (clock.now() - asked).total_seconds() / 2
    return [judge(part, "Elasticsearch", Skew(low=-ahead - half, high=-ahead + half))]
