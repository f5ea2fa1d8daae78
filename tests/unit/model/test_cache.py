import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model.cache import LruCache


def test_the_one_used_longest_ago_goes_first() -> None:
    cache: LruCache[int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c")) == (1, 3)
    assert (cache.hits, cache.misses) == (3, 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(0, 5))
def test_it_never_outgrows_its_size_and_never_answers_wrongly(steps: list[tuple[bool, int]], size: int) -> None:
    cache: LruCache[int] = LruCache(size)
    for put, key in steps:
        if put:
            cache.put(str(key), key)
        else:
            assert cache.get(str(key)) in (None, key)
        assert len(cache) <= size


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        LruCache(-1)
