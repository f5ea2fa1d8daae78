"""Sharing a topic among the members of a group: our assignor against a model of the broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from monitor.bus.kafka_claims import Claims
from monitor.bus.kafka_member import _Assignor

PARTITIONS = 8


class Group:
    """Members with their claims; ``round`` is one rebalance of the cooperative protocol (KIP-429)."""

    def __init__(self) -> None:
        self.members: dict[str, tuple[_Assignor, Claims]] = {}
        cluster: Any = SimpleNamespace()
        cluster.topics = lambda: {"t"}
        cluster.partitions_for_topic = lambda topic: set(range(PARTITIONS))
        self._cluster = cluster
        self._number = 0

    def join(self) -> None:
        claims = Claims(100)
        self.members[f"m{self._number}"] = (_Assignor("t", claims), claims)
        self._number += 1

    def leave(self, index: int) -> None:
        self.members.pop(sorted(self.members)[index % len(self.members)])

    def lose(self, index: int) -> None:
        """The member's session ended while it did not notice; it joins again under another name."""
        assignor, claims = self.members.pop(sorted(self.members)[index % len(self.members)])
        for _ in range(4):
            if not self.members or not self.round():
                break
        claims.revoke(claims.partitions)  # on_partitions_lost
        self.members[f"m{self._number}"] = (assignor, claims)
        self._number += 1

    def round(self) -> bool:
        """Whether somebody gave something away, so that another round follows."""
        joined = [
            SimpleNamespace(
                member_id=name, metadata=ConsumerProtocolSubscription.decode(assignor.metadata({"t"}).encode())
            )
            for name, (assignor, _) in self.members.items()
        ]
        readers = {p: name for name, (_, claims) in self.members.items() for p in claims.partitions}
        leader = next(iter(self.members.values()))[0]
        again = False
        for name, assignment in leader.assign(self._cluster, joined).items():
            assignor, claims = self.members[name]
            given_now = {place.partition for place in assignment.partitions()}
            held = set(claims.partitions)
            assert all(readers.get(p, name) == name for p in given_now), "given before its reader let go of it"
            claims.revoke(held - given_now)
            claims.assign(given_now - held)
            assignor.on_assignment(assignment, 1)
            again = again or bool(held - given_now)
        held_by = [p for _, claims in self.members.values() for p in claims.partitions]
        assert len(held_by) == len(set(held_by)), "a partition with two readers"
        return again


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "lose"]), st.integers(0, 9)), max_size=12))
def test_every_partition_has_one_reader_whoever_comes_and_goes(steps: list[tuple[str, int]]) -> None:
    group = Group()
    group.join()
    for what, index in steps:
        if what == "join" or len(group.members) == 1:
            group.join()
        elif what == "leave":
            group.leave(index)
        else:
            group.lose(index)
        for _ in range(6):
            if not group.round():
                break
        shares = sorted(len(claims.partitions) for _, claims in group.members.values())
        assert sum(shares) == PARTITIONS, "a partition without a reader"
        assert shares[-1] - shares[0] <= 1
