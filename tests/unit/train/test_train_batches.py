import random

from hypothesis import given
from hypothesis import strategies as st

from monitor.train.batches import bucketed


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(16, 1000), st.integers(0, 3))
def test_every_text_once_and_no_batch_over_its_tokens(lengths: list[int], tokens: int, seed: int) -> None:
    batches = bucketed(lengths, batch_tokens=tokens, rng=random.Random(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= tokens
    assert batches == bucketed(lengths, batch_tokens=tokens, rng=random.Random(seed))


def test_like_lengths_come_together() -> None:
    rng = random.Random(1)
    lengths = [rng.choice((10, 100)) for _ in range(500)]
    batches = bucketed(lengths, batch_tokens=1000, rng=rng)
    mixed = sum(len({lengths[i] for i in batch}) > 1 for batch in batches)
    assert mixed <= 1
