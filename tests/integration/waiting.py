"""Waiting for something to happen, generously: no test here says how fast."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

WITHIN_S: Final = 90.0
LOOK_EVERY_S: Final = 0.4

Found = TypeVar("Found")


def comes_true(look: Callable[[], bool], *, within_s: float, every_s: float = LOOK_EVERY_S) -> bool:
    """Say whether `look` becomes true in time.

    Args:
        look: Is asked at once, and then again and again.
        within_s: The deadline.
        every_s: Between two looks.
    """
    deadline_s = time.monotonic() + within_s
    while not look():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(every_s)
    return True


def wait_for(what: str, look: Callable[[], Found | None], *, within_s: float = WITHIN_S) -> Found:
    """Return the first answer of `look` that is something; fail if none comes.

    Args:
        what: What is waited for, for the failure's message.
        look: Empty, None, False or 0 means: not yet.
        within_s: The deadline.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}; last seen: {found!r}"
        time.sleep(LOOK_EVERY_S)
