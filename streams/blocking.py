"""Blocking calls (the store's client, kafka-python, files) beside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(call: Callable[[], _T]) -> _T:
    """Run a blocking call in a thread of its own that no end of the process waits for.

    asyncio.to_thread's threads are joined at exit: a store that hangs would hold the process for its timeout.
    Cancelling stops the waiting, not the call.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def settle(done: Callable[[], None]) -> None:
        if not answer.done():
            done()

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            done = _raiser(answer, error)
        else:
            done = _setter(answer, result)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=work, name="blocking-call", daemon=True).start()
    return await answer


def _raiser(answer: "asyncio.Future[_T]", error: BaseException) -> Callable[[], None]:
    return lambda: answer.set_exception(error)


def _setter(answer: "asyncio.Future[_T]", result: _T) -> Callable[[], None]:
    return lambda: answer.set_result(result)
