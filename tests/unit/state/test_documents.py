"""What may name a document is the same for every store, so that any state can move to any of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.errors import ConflictError, StorageError
from monitor.core.types import Change, Delete, Put
from monitor.state.documents import PLACE_LIMIT_BYTES, effect_of, place, require


@pytest.mark.parametrize("key", ["\ud800", "a\0b", "x" * PLACE_LIMIT_BYTES, "行" * 700])
def test_a_name_that_some_database_cannot_hold_is_refused(key: str) -> None:
    with pytest.raises(StorageError, match="cannot be named") as caught:
        place("k", key)
    assert len(str(caught.value)) < 300


def test_the_longest_name_is_taken() -> None:
    assert place("k", "x" * (PLACE_LIMIT_BYTES - 1))


_changes = st.lists(
    st.one_of(
        st.builds(Put, kind=st.sampled_from("ab"), key=st.sampled_from("xyz"), value=st.just({"v": 1})),
        st.builds(Delete, kind=st.sampled_from("ab"), key=st.sampled_from("xyz")),
    )
)


@given(_changes)
def test_the_effect_is_what_the_changes_do_one_by_one(changes: list[Change]) -> None:
    one_by_one: dict[tuple[str, str], str] = {}
    for change in changes:
        if isinstance(change, Put):
            one_by_one[change.kind, change.key] = '{"v":1}'
        else:
            one_by_one.pop((change.kind, change.key), None)
    assert {at: value for at, value in effect_of(changes).items() if value is not None} == one_by_one


def test_a_condition_compares_meaning_not_spelling() -> None:
    require(("k", "a"), '{"b":1,"a":2}', '{"a":2,"b":1}')
    require(("k", "a"), None, None)
    for wanted, found in (("{}", None), (None, "{}"), ('{"a":1}', '{"a":2}')):
        with pytest.raises(ConflictError, match="k/a"):
            require(("k", "a"), wanted, found)
