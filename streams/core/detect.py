"""Detection for one partition of `checks`: checks and clock events in, deviations, verdicts and summaries out."""

from typing import Final

from producers.contract import CheckColumns
from streams.core.outputs import Outputs
from streams.policy import DetectPolicy, Expectations

CODE: Final = "detect-1"
"""Version of the state's form: a snapshot of another one is not loaded."""


class Detector:
    """The state of one partition, and the only way to advance it.

    What it returns is a function of the set of checks that arrive within their lateness and of the clock events,
    not of their order or of how they are cut into messages.
    """

    def __init__(self, policy: DetectPolicy, expectations: Expectations, *, partition: int) -> None:
        self._policy = policy
        self._expectations = expectations
        self._partition = partition

    def apply(self, columns: CheckColumns) -> Outputs:
        """Take in n checks, and close the ticks that they complete.

        Args:
            columns: Any order, any number of locations; times in microseconds UTC.
        """
        raise NotImplementedError

    def clock(self, at_us: int) -> Outputs:
        """Say what time it is: ticks whose lateness is over are closed, silence is seen.

        Args:
            at_us: Microseconds UTC. Earlier than the last one changes nothing.
        """
        raise NotImplementedError

    def stopped(self, location: str, at_us: int) -> Outputs:
        """A producer at `location` ended in order at `at_us`: its silence is excused for `stop_grace_us`."""
        raise NotImplementedError

    def snapshot(self) -> bytes:
        """Return the whole state. A detector restored from it continues bit for bit."""
        raise NotImplementedError

    def restore(self, payload: bytes) -> None:
        """Replace the whole state by that of a snapshot.

        Raises:
            ValueError: If the payload is damaged or of another form (see CODE); the state is then unchanged.
        """
        raise NotImplementedError
