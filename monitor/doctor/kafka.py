"""Kafka: brokers, cluster, topics, rights, the group that scores, and the clocks of those who publish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from kafka import KafkaAdminClient
from kafka.errors import AuthorizationError, KafkaError

from monitor.bus.kafka_admin import KafkaAdmin
from monitor.bus.kafka_client import open_client
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_errors import explain
from monitor.bus.kafka_topics import (
    ClusterInfo,
    TopicAction,
    TopicInfo,
    TopicStep,
    describe_cluster,
    describe_group,
    describe_topics,
    plan_topics,
)
from monitor.core.clock import Clock
from monitor.core.errors import StorageError
from monitor.core.types import Lag
from monitor.doctor.skew import WARN_SECONDS, Skew, judge
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict, fail, ok, warn
from monitor.services.topics import ARTICLES, DEAD_LETTERS, SCORE_GROUP

OLDEST_VERSION = (2, 4)
"""Older brokers cannot describe configurations and groups as Riskwire asks them to."""
BEHIND = timedelta(minutes=15)
"""Articles that wait for longer than this say that scoring does not keep up."""
_PATIENCE_SECONDS = 6.0
"""Below a check's own limit, so that the reason is heard and not only that it took too long."""
_RIGHTS = {
    ARTICLES: {"READ": "role score", "WRITE": "role ingest"},
    DEAD_LETTERS: {"READ": "'riskwire dlq ls'", "WRITE": "role score"},
}


def kafka_checks(config: KafkaConfig, clock: Clock) -> list[Check]:
    """Checks of the cluster that ``config`` names. Nothing is written, and no group is joined."""
    quick = replace(config, timeout=min(config.timeout, _PATIENCE_SECONDS))

    def check(part: str, look: Callable[[KafkaConfig], Sequence[Verdict]], asked: KafkaConfig = quick) -> Check:
        return Check(
            part=part,
            look=lambda: in_thread(lambda: look(asked)),
            remedy=f"{asked.brokers} takes connections but answers late or never: see the brokers' logs and load.",
        )

    return [
        *(
            check(f"kafka: {address}", partial(_bootstrap, address), replace(quick, bootstrap=(address,)))
            for address in config.bootstrap
        ),
        Check(part="kafka: brokers", look=lambda: _brokers(quick), remedy="See the brokers' logs and load."),
        check("kafka: topics", _topics),
        check("kafka: rights", _rights),
        Check(part="kafka: group", look=lambda: _group(quick, clock), remedy="See the brokers' logs and load."),
    ]


def _bootstrap(address: str, config: KafkaConfig) -> list[Verdict]:
    return [judge_version(f"kafka: {address}", describe_cluster(config))]


def judge_version(part: str, info: ClusterInfo) -> Verdict:
    """Whether the brokers are new enough, by the newest version that all their APIs fit."""
    finding = f"Cluster {info.id or '(unnamed)'} answers, with the APIs of Kafka {info.version or 'unknown'}."
    digits = [int(digit) for digit in info.version.split(".")[:2] if digit.isdigit()]
    if digits and tuple(digits) < OLDEST_VERSION:
        return fail(part, finding, f"Riskwire needs Kafka {'.'.join(map(str, OLDEST_VERSION))} or newer.")
    return ok(part, finding)


async def _brokers(config: KafkaConfig) -> list[Verdict]:
    """The addresses that the cluster tells its clients: they must be reachable from here, not only the first ones."""
    info = await in_thread(lambda: describe_cluster(config))
    reached = await asyncio.gather(*(_reaches(broker.address) for broker in info.brokers))
    lost = [broker.address for broker, reachable in zip(info.brokers, reached, strict=True) if not reachable]
    return judge_brokers(info, lost, config)


def judge_brokers(info: ClusterInfo, lost: Sequence[str], config: KafkaConfig) -> list[Verdict]:
    """``lost`` are the addresses of ``info`` that cannot be reached from here."""
    part = "kafka: brokers"
    count = len(info.brokers)
    if lost:
        return [
            fail(
                part,
                f"The cluster tells its clients to go to {', '.join(lost)}, which cannot be reached from here.",
                "Start those brokers, or correct their advertised.listeners, DNS or the firewall in between.",
            )
        ]
    if count < config.replication:
        return [
            fail(
                part,
                f"The cluster has {count} broker{'s' if count != 1 else ''}; kafka.replication asks for "
                f"{config.replication}.",
                "Add brokers, or lower kafka.replication and kafka.min_insync.",
            )
        ]
    return [ok(part, f"Every one can be reached from here: {', '.join(broker.address for broker in info.brokers)}.")]


async def _reaches(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS / 2):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:  # a timeout is one
        return False
    writer.close()
    return True


def _topics(config: KafkaConfig) -> list[Verdict]:
    states = [verdict for info in describe_topics(config) for verdict in judge_state(info)]
    try:
        return [*map(judge_step, plan_topics(config)), *states]
    except StorageError as error:
        if not isinstance(error.__cause__, AuthorizationError):
            raise
        # Reading settings is a right that no role needs.
        what = "This login may not see the topics' settings (DESCRIBE_CONFIGS): they cannot be compared."
        return [warn("kafka: topics", what, "Ask 'riskwire topics ls' with an operator's login."), *states]


def judge_step(step: TopicStep) -> Verdict:
    """A topic compared with the configuration."""
    part, text = f"kafka: topic {step.spec.name}", step.text[:1].upper() + step.text[1:] + "."
    match step.action:
        case TopicAction.NOTHING:
            return ok(part, text)
        case TopicAction.CREATE:
            return fail(part, f"The topic '{step.spec.name}' does not exist.", "'riskwire topics apply' creates it.")
        case TopicAction.ALTER:
            return warn(part, f"It differs from the configuration: {step.text}.", "'riskwire topics apply' sets it.")
        case TopicAction.GROW:
            return warn(
                part,
                text,
                "'riskwire topics apply --add-partitions' adds them: best while nothing waits to be scored.",
            )
        case TopicAction.KEEP:
            return warn(part, text, "Change it with Kafka's own tools, or adapt [kafka] to what is there.")


def judge_state(info: TopicInfo) -> list[Verdict]:
    """Leaders and copies of a topic that is there."""
    part = f"kafka: topic {info.name}"
    if info.missing:
        return []  # said by the comparison
    if info.error:
        return [fail(part, info.error, "'riskwire doctor' again once the cluster is well; see the brokers' logs.")]
    if info.leaderless:
        what = f"Nobody leads partition{_list(info.leaderless)}: what lies there can be neither read nor written."
        return [fail(part, what, "Bring the brokers that hold them back.")]
    if info.lagging:
        what = f"Copies of partition{_list(info.lagging)} are not in sync."
        return [warn(part, what, "A broker is down or slow: publishing stops when fewer than min.insync are left.")]
    return []


def _list(numbers: Sequence[int]) -> str:
    return f"{'s' if len(numbers) != 1 else ''} {', '.join(map(str, numbers))}"


def _rights(config: KafkaConfig) -> list[Verdict]:
    infos = {info.name: info for info in describe_topics(config)}
    found = [
        judge_rights(infos[config.name(topic)], needs, config)
        for topic, needs in _RIGHTS.items()
        if config.name(topic) in infos and not infos[config.name(topic)].missing
    ]
    return [*found, judge_group_rights(config.name(SCORE_GROUP), _group_operations(config), config)]


def _group_operations(config: KafkaConfig) -> Sequence[str] | None:
    """What this login may do with the group that scores; None when the cluster does not tell."""
    name = config.name(SCORE_GROUP)
    admin = open_client(KafkaAdminClient, config)
    try:
        told = admin.describe_groups([name])[name]
    except (KafkaError, OSError, RuntimeError) as error:
        raise explain(error, config, group=name) from error
    finally:
        admin.close()
    operations: Sequence[str] | None = told.get("authorized_operations")
    return [] if told["error"] and "Authorization" in told["error"] else operations


def judge_group_rights(name: str, operations: Sequence[str] | None, config: KafkaConfig) -> Verdict:
    """Whether this login may be a member of the group that scores."""
    part = f"kafka: rights on {name}"
    if operations is None:
        return ok(part, "The cluster does not say what this login may do with the group.")
    if "READ" in operations:
        return ok(part, "This login may join the group.")
    finding = "This login may not READ with this group: role score cannot work with it."
    return warn(part, finding, _grant(name, ["READ", "DESCRIBE"], config, kind="group"))


def judge_rights(info: TopicInfo, needs: dict[str, str], config: KafkaConfig) -> Verdict:
    """What this login may do with a topic: ``needs`` is right → what needs it.

    Some rights missing is a warning only, since every role may have a login of its own.
    """
    part = f"kafka: rights on {info.name}"
    if info.error:
        return fail(part, info.error, _grant(info.name, ["DESCRIBE", *needs], config))
    if not info.operations:
        return ok(part, "It can be described; the cluster does not say what else this login may do.")
    missing = [right for right in needs if right not in info.operations]
    if not missing:
        return ok(part, f"This login may {', '.join(['DESCRIBE', *needs])}.")
    users = ", ".join(dict.fromkeys(needs[right] for right in missing))
    verdict = fail if len(missing) == len(needs) else warn
    finding = f"This login may not {', '.join(missing)}: {users} cannot work with it."
    return verdict(part, finding, _grant(info.name, missing, config))


def _grant(name: str, rights: Sequence[str], config: KafkaConfig, *, kind: str = "topic") -> str:
    who = config.username or config.oauth_client_id or "NAME"
    operations = " ".join(f"--operation {right.capitalize()}" for right in rights)
    return (
        f"kafka-acls --bootstrap-server {config.bootstrap[0]} --add --allow-principal User:{who} {operations} "
        f"--{kind} {name}"
    )


async def _group(config: KafkaConfig, clock: Clock) -> list[Verdict]:
    """How far scoring is behind, whether somebody scores, and the time by those who publish."""
    state = await in_thread(lambda: describe_group(config, SCORE_GROUP))
    admin = KafkaAdmin(config)
    try:
        lag = await admin.lag(config.name(ARTICLES), config.name(SCORE_GROUP))
        newest = await admin.browse(config.name(ARTICLES), ARTICLES, 1, newest=True)
    finally:
        await admin.close()
    verdicts = [judge_group(config.name(SCORE_GROUP), state, lag, clock)]
    if newest:
        ahead = (newest[0].record.timestamp - clock.now()).total_seconds()
        # A record from the past says nothing: nobody may have published since. One from the future does.
        if ahead > WARN_SECONDS:
            skew = Skew(low=ahead, high=ahead)
            verdicts.append(judge("clock: kafka", "the machine that published the newest article", skew))
    return verdicts


def judge_group(name: str, state: str, lag: Lag, clock: Clock) -> Verdict:
    """``state`` is Kafka's name of the group's state (Stable, Empty, Dead, PreparingRebalance …)."""
    part = f"kafka: group {name}"
    waits = f"{lag.count:,} article{'s' if lag.count != 1 else ''} wait{'s' if lag.count == 1 else ''} to be scored"
    age = timedelta() if lag.oldest is None else clock.now() - lag.oldest
    if lag.count and age > timedelta(minutes=1):
        waits += f", the oldest fetched {age.total_seconds() / 60:,.0f} minutes ago"
    nobody = state in ("Empty", "Dead", "")
    if nobody and lag.count:
        return warn(part, f"Nobody scores ({state or 'no state'}); {waits}.", "Start 'riskwire run --role score'.")
    if nobody:
        return ok(part, f"Nobody scores at present ({state or 'no state'}), and nothing waits.")
    if age > BEHIND:
        return warn(part, f"{state}; {waits}.", "Start more of 'riskwire run --role score', up to one a partition.")
    return ok(part, f"{state}; {waits}.")
