"""What the front door refuses, and the exit codes that it ends with."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from producers.errors import ForewarnError, TransientError


class ExitCode(enum.IntEnum):
    """How a command ended. Printed by `forewarn --help`; scripts and supervisors rely on it."""

    OK = 0
    NEGATIVE = 1  # the command's own negative result: the check failed, the demo was not convinced
    USAGE = 2  # wrong usage, or a config that is refused
    UNREACHABLE = 3  # broker or store
    REFUSED = 4  # wrong credentials, locked, port taken, not writable
    BUG = 70
    RESTART = 75  # another epoch, messages skipped, or a state was found: the supervisor starts the process again
    INTERRUPTED = 130


EXIT_CODES: tuple[tuple[ExitCode, str], ...] = (
    (ExitCode.OK, "done"),
    (ExitCode.NEGATIVE, "the command's own negative result, for example: the check failed"),
    (ExitCode.USAGE, "wrong usage, or a config that is refused"),
    (ExitCode.UNREACHABLE, "broker or store unreachable"),
    (ExitCode.REFUSED, "refused: credentials, locked, port taken, not writable"),
    (ExitCode.BUG, "a bug of ours; its traceback is in the file that is named"),
    (ExitCode.RESTART, "restart wanted: the log is a new one, or a state was found"),
    (ExitCode.INTERRUPTED, "interrupted with Ctrl-C"),
)


class CommandError(ForewarnError):
    """A command cannot go on, for a reason that its user can act on.

    Attributes:
        exit_code: What the process ends with.
    """

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class UsageError(CommandError):
    """Wrong usage, or input that cannot be used."""

    def __init__(self, text: str) -> None:
        super().__init__(text, ExitCode.USAGE)


class NotRunningError(CommandError, TransientError):
    """One-machine mode, and no `forewarn up` runs on this data directory."""

    def __init__(self, text: str) -> None:
        super().__init__(text, ExitCode.UNREACHABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a config.

    Attributes:
        line: 1-based; 0 where the whole file is meant.
        key: `targets[0].probes[1].http.url`; empty where the whole file is meant.
        text: What was wrong, what was expected.
    """

    line: int
    key: str
    text: str


class ConfigError(UsageError):
    """A config is refused. Its text has one line a problem: `file:line: key: what was wrong, what was expected`."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        # One wrong default is found once for each target that has it.
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))
        super().__init__("\n".join(self._line(problem) for problem in self.problems))

    def _line(self, problem: Problem) -> str:
        place = f"{self.path}:{problem.line}" if problem.line else self.path
        return f"{place}: {problem.key}: {problem.text}" if problem.key else f"{place}: {problem.text}"


class DataDirectoryError(CommandError):
    """The data directory is in use or cannot be written."""
