"""The topics as they should be, what differs in the cluster, and making it so. Synchronous; for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource

from monitor.bus.kafka_client import open_client
from monitor.bus.kafka_config import KafkaConfig
from monitor.bus.kafka_errors import explain
from monitor.core.errors import StorageError

ResultT = TypeVar("ResultT")

ARTICLES = "articles"
DEAD_LETTERS = "dead-letters"
"""Our names of the topics; monitor.services.topics has the same."""
_DAY_MILLIS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic as it should be. ``name`` is its name in the cluster."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


class TopicAction(StrEnum):
    """What is to do about a topic."""

    NOTHING = "nothing"
    CREATE = "create"
    ALTER = "alter"
    """Settings differ, and are set."""
    GROW = "grow"
    """It has fewer partitions than configured. They are added only when asked for, because keys then move to other
    partitions: what is not read yet may overtake what is published from then on."""
    KEEP = "keep"
    """It differs in something that is never changed: more partitions or another number of copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicStep:
    """One difference between a topic and its specification, or that there is none."""

    spec: TopicSpec
    action: TopicAction
    text: str
    """For people: what is and what should be."""
    changes: Mapping[str, str]
    """ALTER: the settings to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicReport:
    """What ``apply_topics`` did (``done``) and what is still different (``left``)."""

    done: tuple[TopicStep, ...]
    left: tuple[TopicStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerInfo:
    """One broker as it presents itself to clients."""

    id: int
    address: str
    rack: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterInfo:
    """The cluster: its id, the newest Kafka version that all its APIs fit, its brokers."""

    id: str
    version: str
    brokers: tuple[BrokerInfo, ...]
    controller: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic as it is. ``error`` says in words why nothing is known of it (``missing`` when there is none)."""

    name: str
    partitions: int = 0
    replication: int = 0
    leaderless: tuple[int, ...] = ()
    """Partitions that nobody leads: they can be neither written nor read."""
    lagging: tuple[int, ...] = ()
    """Partitions with fewer copies in sync than they have."""
    operations: tuple[str, ...] = ()
    """What this login may do with it (READ, WRITE, DESCRIBE …); empty when the cluster does not tell."""
    error: str = ""
    missing: bool = False


def topic_specs(config: KafkaConfig) -> tuple[TopicSpec, ...]:
    """The topics that Riskwire needs."""

    def spec(name: str, days: int) -> TopicSpec:
        return TopicSpec(
            name=config.name(name),
            partitions=config.partitions,
            replication=config.replication,
            settings={
                "cleanup.policy": "delete",
                "retention.ms": str(days * _DAY_MILLIS),
                "retention.bytes": "-1",
                "min.insync.replicas": str(config.min_insync),
                "max.message.bytes": str(config.max_message_bytes),
                "message.timestamp.type": "CreateTime",
                "unclean.leader.election.enable": "false",
            },
        )

    return spec(ARTICLES, config.log_days), spec(DEAD_LETTERS, config.dead_letter_days)


def plan_topics(config: KafkaConfig, specs: Sequence[TopicSpec] | None = None) -> tuple[TopicStep, ...]:
    """Compares the cluster with ``specs`` (all topics of Riskwire when None); changes nothing. Raises StorageError."""
    wanted = topic_specs(config) if specs is None else specs
    return _ask(config, lambda admin: _plan(admin, config, wanted))


def apply_topics(
    config: KafkaConfig, specs: Sequence[TopicSpec] | None = None, *, add_partitions: bool = False
) -> TopicReport:
    """Creates missing topics and sets settings that differ; partitions are added only with ``add_partitions``, and
    nothing is ever removed. Returns when the topics can be used. Raises StorageError."""
    wanted = topic_specs(config) if specs is None else specs

    def work(admin: Any) -> TopicReport:
        plan = _plan(admin, config, wanted)
        done = [step for step in plan if _carry_out(admin, step, add_partitions=add_partitions)]
        admin.wait_for_topics([spec.name for spec in wanted], timeout_ms=int(config.timeout * 1000))
        left = [step for step in _plan(admin, config, wanted) if step.action is not TopicAction.NOTHING]
        return TopicReport(done=tuple(done), left=tuple(left))

    return _ask(config, work)


def delete_topics(config: KafkaConfig, names: Sequence[str]) -> None:
    """Deletes topics by their names in the cluster; absent is fine. For tests and for operators. Raises
    StorageError."""

    def work(admin: Any) -> None:
        known = set(admin.list_topics())
        there = [name for name in names if name in known]
        if there:
            admin.delete_topics(there)

    _ask(config, work)


def describe_cluster(config: KafkaConfig) -> ClusterInfo:
    """Who answers. Raises StorageError that says why nobody does."""

    def work(admin: Any) -> ClusterInfo:
        # Not describe_cluster(): kafka-python 3.0 stumbles over brokers before 3.7, which do not tell endpoint types.
        told = admin._manager.run(admin._get_cluster_metadata, [])
        version = admin._manager.broker_version
        return ClusterInfo(
            id=str(told.get("cluster_id") or ""),
            version=".".join(str(part) for part in version) if version else "",
            brokers=tuple(
                BrokerInfo(id=b["node_id"], address=f"{b['host']}:{b['port']}", rack=b.get("rack") or "")
                for b in told["brokers"]
            ),
            controller=int(told.get("controller_id", -1)),
        )

    return _ask(config, work)


def describe_topics(config: KafkaConfig) -> tuple[TopicInfo, ...]:
    """Our topics as they are. Raises StorageError when the cluster cannot be asked at all."""
    names = [spec.name for spec in topic_specs(config)]
    return _ask(config, lambda admin: tuple(_info(config, topic) for topic in admin.describe_topics(names)))


def describe_group(config: KafkaConfig, group: str) -> str:
    """The state of one of our groups: ``Stable``, ``Empty``, ``Dead`` (never used) … Raises StorageError, also when
    the login has no right to it."""

    def work(admin: Any) -> str:
        name = config.name(group)
        told = admin.describe_groups([name])[name]
        if told["error"] and "GroupAuthorizationFailed" in told["error"]:
            raise kafka_errors.GroupAuthorizationFailedError(name)
        if told["error"] and "GroupIdNotFound" in told["error"]:  # from Kafka 4.0 on, instead of Dead
            return "Dead"
        if told["error"]:
            raise StorageError(f"The Kafka group '{name}' cannot be described: {told['error']}.")
        return str(told["group_state"])

    return _ask(config, work, group=config.name(group))


def _ask(config: KafkaConfig, work: Callable[[Any], ResultT], *, group: str = "") -> ResultT:
    admin = open_client(KafkaAdminClient, config)
    try:
        return work(admin)
    except (kafka_errors.KafkaError, OSError, RuntimeError, ValueError) as error:
        raise explain(error, config, group=group) from error
    finally:
        admin.close()


def _info(config: KafkaConfig, told: Mapping[str, Any]) -> TopicInfo:
    error = kafka_errors.for_code(told["error_code"])
    if error is kafka_errors.UnknownTopicOrPartitionError:
        return TopicInfo(name=told["name"], missing=True, error=f"The topic '{told['name']}' does not exist.")
    if error is not kafka_errors.NoError:
        return TopicInfo(name=told["name"], error=str(explain(error(), config, topic=told["name"])))
    parts = told["partitions"]
    operations = told.get("authorized_operations") or ()
    return TopicInfo(
        name=told["name"],
        partitions=len(parts),
        replication=min((len(part["replica_nodes"]) for part in parts), default=0),
        leaderless=tuple(sorted(part["partition_index"] for part in parts if part["leader_id"] < 0)),
        lagging=tuple(
            sorted(part["partition_index"] for part in parts if len(part["isr_nodes"]) < len(part["replica_nodes"]))
        ),
        operations=tuple(sorted(str(getattr(operation, "name", operation)) for operation in operations)),
    )


def _plan(admin: Any, config: KafkaConfig, specs: Sequence[TopicSpec]) -> tuple[TopicStep, ...]:
    infos = {topic["name"]: _info(config, topic) for topic in admin.describe_topics([spec.name for spec in specs])}
    there = [spec.name for spec in specs if not infos[spec.name].missing]
    for name in there:
        if infos[name].error:
            raise StorageError(infos[name].error)
    settings: Mapping[str, Any] = {}
    if there:
        resources = [ConfigResource("TOPIC", name) for name in there]
        settings = admin.describe_configs(resources, config_filter="all").get("topic", {})
    steps: list[TopicStep] = []
    for spec in specs:
        steps += _compare(spec, infos[spec.name], settings.get(spec.name, {}))
    return tuple(steps)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _compare(spec: TopicSpec, info: TopicInfo, settings: Mapping[str, Mapping[str, Any]]) -> list[TopicStep]:
    def step(action: TopicAction, text: str, changes: Mapping[str, str] | None = None) -> TopicStep:
        return TopicStep(spec=spec, action=action, text=text, changes=changes or {})

    if info.missing:
        text = f"create '{spec.name}': {_counted(spec.partitions, 'partition', 'partitions')}, "
        text += f"{_counted(spec.replication, 'copy', 'copies')}"
        return [step(TopicAction.CREATE, text)]
    steps: list[TopicStep] = []
    if info.partitions < spec.partitions:
        text = f"'{spec.name}' has {info.partitions} partitions, {spec.partitions} are configured"
        steps.append(step(TopicAction.GROW, text))
    elif info.partitions > spec.partitions:
        text = f"'{spec.name}' has {info.partitions} partitions, more than the {spec.partitions} configured"
        steps.append(step(TopicAction.KEEP, f"{text}; Kafka cannot remove partitions"))
    if info.replication != spec.replication:
        text = f"'{spec.name}' has {_counted(info.replication, 'copy', 'copies')}, {spec.replication} are configured"
        steps.append(step(TopicAction.KEEP, f"{text}; kafka-reassign-partitions changes that"))
    told = {name: str(settings[name]["value"]) for name in spec.settings if name in settings}
    changes = {name: value for name, value in spec.settings.items() if told.get(name) != value}
    if changes:
        parts = [f"{name} = {value} (is {told.get(name, 'not told')})" for name, value in changes.items()]
        steps.append(step(TopicAction.ALTER, f"set on '{spec.name}': {', '.join(parts)}", changes))
    return steps or [step(TopicAction.NOTHING, f"'{spec.name}' is as configured")]


def _carry_out(admin: Any, step: TopicStep, *, add_partitions: bool) -> bool:
    spec = step.spec
    if step.action is TopicAction.CREATE:
        try:
            admin.create_topics(
                {
                    spec.name: {
                        "num_partitions": spec.partitions,
                        "replication_factor": spec.replication,
                        "configs": dict(spec.settings),
                    }
                }
            )
        except kafka_errors.TopicAlreadyExistsError:  # somebody was faster: the next comparison tells what differs
            return False
    elif step.action is TopicAction.ALTER:
        told = admin.alter_configs([ConfigResource("TOPIC", spec.name, configs=dict(step.changes))])
        refused = [text for results in told.values() for text in results.values() if text != "OK"]
        if refused:
            hint = "Grant ALTER_CONFIGS on the topic with kafka-acls, or have its owner set what 'topics ls' tells."
            raise StorageError(f"The settings of '{spec.name}' could not be set: {' '.join(refused)}.", hint=hint)
    elif step.action is TopicAction.GROW and add_partitions:
        admin.create_partitions({spec.name: spec.partitions})
    else:
        return False
    return True
