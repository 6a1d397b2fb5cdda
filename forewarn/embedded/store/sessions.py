"""Sessions: what SET and USE said under one session_id, played again before each of its queries."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from forewarn.embedded.store.errors import refused

MOST_SESSIONS = 1000
MOST_STATEMENTS = 200


@dataclass(slots=True, kw_only=True)
class _Session:
    statements: list[str]
    busy: bool
    ends_at_s: float


class Sessions:
    """All sessions of this process; they hold text alone, nothing of the engine's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, _Session] = {}

    def enter(self, session_id: str, *, check: bool) -> tuple[str, ...]:
        """Return the statements to play first, and hold the session until `leave`.

        Raises:
            QueryError: If another query of the session runs, or `check` asks for one that does not exist.
        """
        now = self._clock()
        for name in [name for name, one in self._sessions.items() if one.ends_at_s < now and not one.busy]:
            del self._sessions[name]
        session = self._sessions.get(session_id)
        if session is None:
            if check:
                raise refused(372, f"Session {session_id[:60]} not found", status=404)
            if len(self._sessions) >= MOST_SESSIONS:
                raise refused(202, f"More than {MOST_SESSIONS} sessions")
            session = self._sessions[session_id] = _Session(statements=[], busy=False, ends_at_s=now)
        if session.busy:
            raise refused(373, f"Session {session_id[:60]} is locked by a concurrent client")
        session.busy = True
        return tuple(session.statements)

    def leave(self, session_id: str, *, timeout_s: float, statement: str | None) -> None:
        """End a query of the session; `statement` is what it leaves behind, if it was a SET or USE that worked."""
        session = self._sessions[session_id]
        session.busy = False
        session.ends_at_s = self._clock() + timeout_s
        if statement is not None:
            session.statements = [*session.statements, statement][-MOST_STATEMENTS:]
