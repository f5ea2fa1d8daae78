"""Blocking calls in threads that cannot keep the program from ending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def in_thread(call: Callable[[], ResultT], *, name: str = "doctor") -> ResultT:
    """The result of ``call`` in a daemon thread of its own.

    ``asyncio.to_thread`` would not do: its threads are waited for at the end, and a call that hangs in the kernel (a
    dead network disk) would hold the doctor for ever. A thread whose caller was cancelled is left to itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[ResultT] = loop.create_future()

    def settle(act: Callable[[], None]) -> None:
        def unless_cancelled() -> None:
            if not future.done():
                act()

        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile: nobody waits
            loop.call_soon_threadsafe(unless_cancelled)

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed on whole to the one who waits
            problem = error
            settle(lambda: future.set_exception(problem))
        else:
            settle(lambda: future.set_result(result))

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future
