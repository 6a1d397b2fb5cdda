"""Runs the command line: from arguments to an exit code, and from every error to one line on stderr."""

import errno
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import typer

from forewarn.cli_store import app
from forewarn.errors import ConfigError, ExitCode
from forewarn.leash import follow_parent
from forewarn.stderr import say
from producers.errors import ForewarnError, TransientError

__all__ = ["app", "exit_code_of", "run", "say"]


def run(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code; see `forewarn.errors.ExitCode`."""
    follow_parent()
    debug = "--debug" in arguments or bool(os.environ.get("FOREWARN_DEBUG"))
    if not debug:
        # What libraries complain of where no logs are configured is in our own line already.
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        # Not `command.main`: it would answer a closed pipe with our code for a negative result.
        command = typer.main.get_command(app)
        given = [argument for argument in arguments if argument != "--debug"]  # wherever it stands
        # Who types the name alone asks what there is.
        with command.make_context("forewarn", given or ["--help"]) as context:
            command.invoke(context)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the outermost frame: everything becomes an exit code here
        return _ended_by(error, debug=debug)
    return ExitCode.OK


def _ended_by(error: BaseException, *, debug: bool) -> int:
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.OK
    if isinstance(error, BrokenPipeError):
        return _closed_output()
    if debug:
        traceback.print_exception(error)
    if isinstance(error, ForewarnError):
        _say_error(error)
        return exit_code_of(error)
    if _is_usage(error):
        return _wrong_usage(error)
    if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC}:
        say(f"{error.filename or 'the file system'}: {error.strerror}")
        return ExitCode.REFUSED
    say(f"a bug of ours: {type(error).__name__}: {_first_line(error)}" + ("" if debug else _kept_traceback(error)))
    return ExitCode.BUG


def exit_code_of(error: ForewarnError) -> int:
    """Return the exit code for an error of ours: its own, else by whether it will pass."""
    own = getattr(error, "exit_code", None)
    if own is not None:
        return int(own)
    return ExitCode.UNREACHABLE if isinstance(error, TransientError) else ExitCode.REFUSED


def _say_error(error: ForewarnError) -> None:
    if isinstance(error, ConfigError):  # `file:line: ...` from the first column, so that editors can jump there
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
    else:
        say("; ".join(str(error).splitlines()))


def _is_usage(error: BaseException) -> bool:
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _wrong_usage(error: BaseException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "forewarn"
    said = error.format_message().rstrip(".").replace("Value error, ", "")  # type: ignore[attr-defined] # by _is_usage
    say(f"{said} (see `{path} --help`)")
    return ExitCode.USAGE


def _closed_output() -> int:
    """The reader of our output has enough (`forewarn tail | head`): that is an orderly end."""
    # Python flushes stdout once more at its end, and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else ""


def _kept_traceback(error: BaseException) -> str:
    """Write the traceback to a file that its owner alone can read, and return where it lies."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="forewarn-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return " (--debug shows the traceback)"
    return f" (traceback in {path})"
