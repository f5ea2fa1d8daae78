"""Out of memory: recognised, and answered with smaller pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from monitor.core.errors import TrainError

Result = TypeVar("Result")


def out_of_memory(error: BaseException) -> bool:
    """True for CUDA's error and for what torch's CPU allocator raises (a plain RuntimeError)."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )


def halving(
    attempt: Callable[[int], Result], *, pieces: int, most: int, report: Callable[[str], None]
) -> tuple[Result, int]:
    """``attempt(pieces)``, with twice the pieces whenever memory does not suffice; returns the result and the pieces
    that it took. Raises TrainError when ``most`` pieces are too large still."""
    while True:
        try:
            return attempt(pieces), pieces
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not out_of_memory(error):
                raise
            if pieces >= most:
                raise TrainError(
                    "Out of memory with a single text in a batch.",
                    hint="Lower preprocessing.max_tokens, freeze layers, or use a smaller encoder.",
                ) from error
        # Outside the handler: the error's traceback no longer holds what was allocated.
        pieces = min(pieces * 2, most)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        report(f"out of memory: batches are now worked on in {pieces} pieces")
