"""The state store on a real PostgreSQL: conditions under concurrency, set-up, limits, and a network that fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest
from servers.postgres import Cluster, Place
from servers.relay import Relay

from monitor.core.errors import ConflictError, DiskFullError, SchemaVersionError, StorageError
from monitor.core.types import Change, Expect, Put
from monitor.state import postgres
from monitor.state.postgres import PostgresState
from monitor.state.sql import SqlState

COMMIT = b"COMMIT\0"
"""The statement as it is sent; READ COMMITTED is another thing."""


async def opened(place: Place, **options: object) -> PostgresState:
    return await PostgresState.open(place.url, password=place.password, schema=place.schema, **options)


@pytest.fixture
async def state(postgres_place: Place) -> AsyncIterator[PostgresState]:
    mine = await opened(postgres_place)
    yield mine
    await mine.close()


@pytest.fixture
async def other(postgres_place: Place, state: PostgresState) -> AsyncIterator[PostgresState]:
    """Another process's store over the same tables."""
    theirs = await opened(postgres_place)
    yield theirs
    await theirs.close()


@pytest.fixture
def relay(postgres_cluster: Cluster) -> Iterator[Relay]:
    with Relay(postgres_cluster.port) as between:
        yield between


@pytest.fixture
def far(postgres_cluster: Cluster, postgres_place: Place, relay: Relay) -> Place:
    """The test's place, reached through the relay, unencrypted so that the relay can read along."""
    url = postgres_cluster.url(port=relay.port) + "?sslmode=disable&gssencmode=disable"
    return Place(url, postgres_place.password, postgres_place.schema)


def put(key: str, value: int, kind: str = "k") -> Put:
    return Put(kind=kind, key=key, value={"v": value})


def expect(key: str, value: int | None, kind: str = "k") -> Expect:
    return Expect(kind=kind, key=key, value=None if value is None else {"v": value})


async def succeeded(calls: list[asyncio.Task[None]]) -> int:
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, ConflictError) for outcome in outcomes), outcomes
    return sum(outcome is None for outcome in outcomes)


# Conditions


async def test_counters_that_many_raise_by_their_value_lose_nothing(state: SqlState, other: SqlState) -> None:
    keys = ["a", "b", "c"]
    await state.apply([put(key, 0) for key in keys])

    async def raise_one(store: SqlState, rng: random.Random) -> None:
        key = rng.choice(keys)
        while True:
            document = await store.get("k", key)
            assert document is not None
            now = int(str(document["v"]))
            try:
                await store.apply([put(key, now + 1)], given=[expect(key, now)])
            except ConflictError:
                continue
            return

    rng = random.Random(7)
    await asyncio.gather(*(raise_one(store, rng) for store in (state, other) * 20))
    assert sum(int(str(document["v"])) for _, document in await state.list("k")) == 40


async def test_of_two_that_each_want_the_others_document_absent_one_succeeds(state: SqlState, other: SqlState) -> None:
    """Write skew on rows that are not there: row locks alone would let both through."""
    for turn in range(40):
        a, b = f"a{turn}", f"b{turn}"
        calls = [
            asyncio.create_task(state.apply([put(a, 1)], given=[expect(b, None)])),
            asyncio.create_task(other.apply([put(b, 1)], given=[expect(a, None)])),
        ]
        assert await succeeded(calls) == 1


async def test_a_lease_that_is_taken_over_stops_its_old_holder(state: SqlState, other: SqlState) -> None:
    """Fencing: work and the loss of the lease never both happen in the wrong order."""
    for turn in range(30):
        lease, work = f"lease{turn}", f"work{turn}"
        await state.apply([put(lease, 1)])
        calls = [
            asyncio.create_task(state.apply([put(work, 1)], given=[expect(lease, 1)])),
            asyncio.create_task(other.apply([put(lease, 2), put(f"saw{turn}", 0)], given=[expect(work, None)])),
        ]
        assert await succeeded(calls) == 1


async def test_many_changes_at_once_in_any_order_do_not_deadlock(state: SqlState, other: SqlState) -> None:
    rng = random.Random(3)

    def changes(number: int) -> list[Change]:
        keys = [f"{index:03d}" for index in range(300)]
        rng.shuffle(keys)
        return [put(key, number) for key in keys]

    await asyncio.gather(*(store.apply(changes(number)) for number, store in enumerate((state, other) * 8)))
    assert len({str(document["v"]) for _, document in await state.list("k")}) == 1


async def test_ten_thousand_changes_are_one_transaction(state: SqlState) -> None:
    await state.apply([put(f"{number:05d}", number) for number in range(10_000)], given=[expect("00007", None)])
    assert len(await state.list("k", limit=10_000)) == 10_000


async def test_a_serialization_failure_is_tried_again(
    state: PostgresState, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may be made to fail so: two tries fail with 40001, the third is let through."""
    schema = postgres_place.schema
    with postgres_place.connect() as connection:
        connection.execute(f"CREATE SEQUENCE {schema}.tries")
        connection.execute(
            f"CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('{schema}.tries') < 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NEW; END $$"
        )
        connection.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {schema}.documents FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
        )
    await state.apply([put("a", 1)])
    assert await state.get("k", "a") == {"v": 1}


# Set-up


async def test_replicas_that_start_at_once_make_the_tables_once(postgres_place: Place) -> None:
    stores = await asyncio.gather(*(opened(postgres_place, connections=1) for _ in range(6)))
    await stores[0].apply([put("a", 1)])
    assert await stores[5].get("k", "a") == {"v": 1}
    for store in stores:
        await store.close()


async def test_a_guest_makes_nothing(postgres_place: Place) -> None:
    with pytest.raises(StorageError, match="schema version 0") as caught:
        await opened(postgres_place, guest=True)
    assert "riskwire run" in caught.value.hint
    await (await opened(postgres_place)).close()
    guest = await opened(postgres_place, guest=True)
    assert await guest.list("k") == []
    await guest.close()


async def test_tables_of_a_newer_version_are_left_alone(state: SqlState, postgres_place: Place) -> None:
    with postgres_place.connect() as connection:
        connection.execute(f"UPDATE {postgres_place.schema}.schema_version SET version = 99")
    for guest in (False, True):
        with pytest.raises(SchemaVersionError, match="version 99"):
            await opened(postgres_place, guest=guest)


async def test_someone_elses_tables_are_left_alone(postgres_place: Place) -> None:
    with postgres_place.connect() as connection:
        connection.execute(f"CREATE SCHEMA {postgres_place.schema}")
        connection.execute(f"CREATE TABLE {postgres_place.schema}.documents (id integer)")
    with pytest.raises(StorageError, match="did not make"):
        await opened(postgres_place)


async def test_a_database_that_cannot_hold_every_text_is_refused(
    postgres_cluster: Cluster, postgres_place: Place
) -> None:
    with postgres_place.connect() as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 LOCALE_PROVIDER libc")
    with pytest.raises(StorageError, match="LATIN1"):
        await PostgresState.open(postgres_cluster.url("latin"), password=postgres_place.password)
    with postgres_place.connect() as connection:
        connection.execute("DROP DATABASE latin")


async def test_keys_are_ordered_by_code_point_in_the_server_itself(state: SqlState, postgres_place: Place) -> None:
    """The test cluster's own language would order them otherwise."""
    await state.apply([put(key, 0) for key in ("a", "B", "Z", "é", "z")])
    assert [key for key, _ in await state.list("k")] == ["B", "Z", "a", "z", "é"]
    with postgres_place.connect() as connection:
        rows = connection.execute(
            f'SELECT key::text COLLATE "default" AS k FROM {postgres_place.schema}.documents ORDER BY k'
        )
        if [row[0] for row in rows] == ["B", "Z", "a", "z", "é"]:
            pytest.skip("this server orders by code point anyway")


# Durability


async def test_a_role_that_acknowledges_before_the_disk_is_overruled(
    postgres_cluster: Cluster, state: PostgresState, postgres_place: Place
) -> None:
    seen: list[str] = []
    url = postgres_place.url + ("&" if "?" in postgres_place.url else "?") + "options=-csynchronous_commit%3Doff"
    store = await PostgresState.open(url, password=postgres_place.password, schema=postgres_place.schema)
    await store._run(lambda connection: seen.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()))
    await store.close()
    assert seen == ["on"]


async def test_a_full_disk_is_said_and_nothing_is_half_written(state: PostgresState, postgres_place: Place) -> None:
    """The server reports disk_full (53100), as it does when a table cannot grow."""
    schema = postgres_place.schema
    with postgres_place.connect() as connection:
        connection.execute(
            f"CREATE FUNCTION {schema}.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.key = 'last' THEN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END IF; "
            "RETURN NEW; END $$"
        )
        connection.execute(
            f"CREATE TRIGGER f BEFORE INSERT ON {schema}.documents FOR EACH ROW EXECUTE FUNCTION {schema}.full_disk()"
        )
    with pytest.raises(DiskFullError, match="no room left"):
        await state.apply([put("first", 1), put("last", 2)])
    assert await state.list("k") == []
    await state.apply([put("first", 1)])


async def test_a_server_that_only_reads_says_so(
    postgres_cluster: Cluster, state: PostgresState, postgres_place: Place
) -> None:
    url = postgres_place.url + ("&" if "?" in postgres_place.url else "?")
    url += "options=-cdefault_transaction_read_only%3Don"
    store = await PostgresState.open(url, password=postgres_place.password, schema=postgres_place.schema)
    with pytest.raises(StorageError, match="takes no writes") as caught:
        await store.apply([put("a", 1)])
    assert "target_session_attrs" in caught.value.hint
    await store.close()


# Time limits


async def test_a_change_that_waits_too_long_for_another_gives_up(postgres_place: Place) -> None:
    store = await opened(postgres_place, timeout=0.5)
    await store.apply([put("a", 1)])
    with postgres_place.connect(autocommit=False) as rival:
        rival.execute(f"UPDATE {postgres_place.schema}.documents SET value = '{{}}'")  # and holds its lock
        with pytest.raises(StorageError, match=r"longer than 0\.5 seconds"):
            await store.apply([put("a", 2)])
        rival.rollback()
    await store.apply([put("a", 3)])
    assert await store.get("k", "a") == {"v": 3}
    await store.close()


async def test_the_event_loop_goes_on_while_the_database_does_not(postgres_place: Place) -> None:
    store = await opened(postgres_place, timeout=5)
    await store.apply([put("a", 1)])
    with postgres_place.connect(autocommit=False) as rival:
        rival.execute(f"LOCK TABLE {postgres_place.schema}.documents")
        waiting = [asyncio.create_task(store.get("k", "a")) for _ in range(50)]
        for _ in range(1000):
            await asyncio.sleep(0)  # the loop turns; the tasks cannot end
        assert not any(task.done() for task in waiting)
        rival.rollback()
    assert await asyncio.gather(*waiting) == [{"v": 1}] * 50
    await store.close()


async def test_a_cancelled_caller_leaves_its_connection_to_others_at_once(postgres_place: Place) -> None:
    store = await opened(postgres_place, connections=1, timeout=60)
    await store.apply([put("a", 1)])
    with postgres_place.connect(autocommit=False) as rival:
        rival.execute(f"UPDATE {postgres_place.schema}.documents SET value = '{{}}' WHERE key = 'a'")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.apply([put("a", 2)]), 0.3)
        await asyncio.wait_for(store.apply([put("b", 1)]), 20)  # while the lock is still held
        rival.rollback()
    assert await store.get("k", "b") == {"v": 1}
    await store.close()


# A network that fails


async def test_connections_that_broke_while_idle_are_replaced_unnoticed(far: Place, relay: Relay) -> None:
    store = await opened(far)
    await asyncio.gather(*(store.apply([put(f"{number}", number)]) for number in range(20)))
    relay.drop_all()
    await store.apply([put("after", 1)], given=[expect("3", 3)])
    relay.drop_all()
    assert await store.get("k", "after") == {"v": 1}
    await store.close()


async def test_a_line_that_breaks_before_the_commit_is_taken_up_again(far: Place, relay: Relay) -> None:
    store = await opened(far)
    relay.cut_before = b"INSERT INTO"
    await store.apply([put("a", 1)], given=[expect("a", None)])
    assert relay.cuts == 1
    assert await store.get("k", "a") == {"v": 1}
    await store.close()


async def test_a_commit_whose_answer_is_lost_is_not_known_and_not_repeated(far: Place, relay: Relay) -> None:
    store = await opened(far)
    relay.cut_at = COMMIT
    with pytest.raises(StorageError, match="not known whether the change was stored"):
        await store.apply([put("a", 1)], given=[expect("a", None)])
    assert relay.cuts == 1
    # What callers do: read again, or repeat the change; its own condition refuses the second time.
    assert await store.get("k", "a") == {"v": 1}
    with pytest.raises(ConflictError):
        await store.apply([put("a", 1)], given=[expect("a", None)])
    await store.close()


async def test_a_commit_that_never_arrived_is_not_known_either(far: Place, relay: Relay) -> None:
    store = await opened(far)
    relay.cut_before = COMMIT
    with pytest.raises(StorageError, match="not known"):
        await store.apply([put("a", 1)], given=[expect("a", None)])
    assert await store.get("k", "a") is None
    await store.apply([put("a", 1)], given=[expect("a", None)])
    await store.close()


async def test_a_line_that_goes_dead_is_cut_in_time(far: Place, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are acknowledged but nothing comes back, as from a server that is stopped: no timeout of TCP sees it."""
    monkeypatch.setattr(postgres, "_GRACE_SECONDS", 0.1)
    store = await opened(far, timeout=0.5)
    relay.frozen.set()
    with pytest.raises(StorageError, match="was lost"):
        await asyncio.wait_for(store.get("k", "a"), 30)
    relay.frozen.clear()
    relay.drop_all()
    assert await store.get("k", "a") is None
    await store.close()
