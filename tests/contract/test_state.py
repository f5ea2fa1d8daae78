"""What every state store must do."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.errors import ConflictError, RiskwireError, StorageError
from monitor.core.types import Delete, Expect, Put


def put(key: str, value: int = 0, kind: str = "k") -> Put:
    return Put(kind=kind, key=key, value={"v": value})


async def test_what_was_put_is_got_also_after_a_restart(state, state_home):
    document = {
        "text": "坏账 \ud800 \x00 é",
        "n": 1,
        "f": 0.1 + 0.2,
        "none": None,
        "deep": [{"a": [True, False]}, -0.0],
    }
    await state.apply([Put(kind="cursor", key="feed/1", value=document)])
    assert await state.get("cursor", "feed/1") == document
    assert await state.get("cursor", "feed/2") is None
    assert await state.get("other", "feed/1") is None
    await state_home.stop()
    state = await state_home.open()
    assert await state.get("cursor", "feed/1") == document


async def test_a_later_put_replaces_and_a_delete_removes(state):
    await state.apply([put("a", 1)])
    await state.apply([put("a", 2), put("b", 3)])
    assert await state.get("k", "a") == {"v": 2}
    await state.apply([Delete(kind="k", key="a"), Delete(kind="k", key="never there")])
    assert await state.get("k", "a") is None
    assert await state.get("k", "b") == {"v": 3}


async def test_changes_apply_in_their_order(state):
    await state.apply([put("a", 1), Delete(kind="k", key="a"), put("a", 2), put("b", 1), Delete(kind="k", key="b")])
    assert await state.list("k") == [("a", {"v": 2})]
    await state.apply([])
    assert await state.list("k") == [("a", {"v": 2})]


async def test_list_goes_through_a_kind_in_the_order_of_keys(state):
    keys = ["b", "a", "é", "Z", "银行", "a/1", "a1", "", "\U0001f600"]
    await state.apply([put(key, index) for index, key in enumerate(keys)])
    await state.apply([put("foreign", kind="other")])
    ordered = sorted(keys)[1:]  # the empty key is not greater than the empty ``after``
    assert [key for key, _ in await state.list("k")] == ordered
    paged, after = [], ""
    while page := await state.list("k", after=after, limit=2):
        assert len(page) <= 2
        paged += [key for key, _ in page]
        after = page[-1][0]
    assert paged == ordered
    assert await state.list("nothing") == []
    assert await state.list("k", limit=0) == []


@pytest.mark.parametrize(
    "bad", [Put(kind="k", key="b", value={"v": float("nan")}), Put(kind="k", key="\ud800", value={})]
)
async def test_one_bad_change_undoes_all(state, bad):
    await state.apply([put("a", 1)])
    with pytest.raises(RiskwireError):
        await state.apply([put("a", 2), put("c", 3), bad, put("d", 4)])
    assert await state.list("k") == [("a", {"v": 1})]


async def test_readers_see_all_of_an_apply_or_nothing(state):
    keys = [f"key{n}" for n in range(20)]
    await state.apply([put(key, 0) for key in keys])

    async def write() -> None:
        for round_ in range(1, 40):
            await state.apply([put(key, round_) for key in keys])

    writing = asyncio.create_task(write())
    while not writing.done():
        assert len({document["v"] for _, document in await state.list("k")}) == 1
    await writing


async def test_concurrent_applies_all_arrive(state):
    await asyncio.gather(*(state.apply([put(f"{n:04d}", n), put("last", n)]) for n in range(300)))
    assert [document["v"] for _, document in await state.list("k")][:300] == list(range(300))


async def test_a_bad_apply_among_good_ones_spoils_none_of_them(state):
    changes = [[put(f"{n:03d}", n)] if n % 3 else [put(f"{n:03d}", n), put("\ud800")] for n in range(90)]
    outcomes = await asyncio.gather(*(state.apply(change) for change in changes), return_exceptions=True)
    assert [isinstance(outcome, RiskwireError) for outcome in outcomes] == [n % 3 == 0 for n in range(90)]
    assert [key for key, _ in await state.list("k")] == [f"{n:03d}" for n in range(90) if n % 3]


async def test_a_closed_state_store_says_so(state):
    await state.close()
    await state.close()
    for call in (state.get("k", "a"), state.list("k"), state.apply([put("a")])):
        with pytest.raises(StorageError, match="closed"):
            await call


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(st.text(), json_values, max_size=4))
async def test_any_json_comes_back_as_it_was(state, document):
    await state.apply([Put(kind="any", key="x", value=document)])
    assert await state.get("any", "x") == document


async def test_a_conditional_change_happens_only_when_its_conditions_hold(state):
    put = Put(kind="lease", key="a", value={"holder": "one", "n": 1})
    await state.apply([put], given=[Expect(kind="lease", key="a", value=None)])
    with pytest.raises(ConflictError):
        await state.apply(
            [Put(kind="other", key="b", value={}), Put(kind="lease", key="a", value={"holder": "two"})],
            given=[Expect(kind="lease", key="a", value=None)],
        )
    assert await state.get("lease", "a") == {"holder": "one", "n": 1}
    assert await state.get("other", "b") is None
    await state.apply(
        [Put(kind="lease", key="a", value={"holder": "two"})],
        given=[
            Expect(kind="lease", key="a", value={"n": 1, "holder": "one"}),
            Expect(kind="lease", key="z", value=None),
        ],
    )
    assert await state.get("lease", "a") == {"holder": "two"}


async def test_of_many_that_change_on_the_same_condition_one_succeeds(state):
    async def take(number: int) -> bool:
        try:
            await state.apply(
                [Put(kind="lease", key="a", value={"holder": number})],
                given=[Expect(kind="lease", key="a", value=None)],
            )
        except ConflictError:
            return False
        return True

    assert sum(await asyncio.gather(*(take(number) for number in range(20)))) == 1
