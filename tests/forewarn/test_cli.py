"""The command line itself: help, exit codes, one line for an error, nothing heavy until a command runs."""

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import forewarn.commands.schema as schema_command
from forewarn import __main__ as entry
from forewarn.cli import app, exit_code_of, run
from forewarn.errors import EXIT_CODES, CommandError, ConfigError, ExitCode, NotRunningError, UsageError
from producers.errors import ForewarnError, LogRefusedError, LogUnavailableError, OutboxLockedError
from streams.errors import EpochChangedError, WorkerFailedError
from tests.forewarn.cli_process import clean_environment, forewarn

COMMANDS = (
    *("init", "validate", "schema", "check", "up", "demo", "sql", "tail", "report", "explain"),
    *("replay", "producer", "worker", "migrate", "healthcheck", "store", "dead-letters"),
)
HEAVY = ("pandas", "numpy", "pyarrow", "faust", "chdb", "kafka", "pydantic", "clickhouse_connect", "apprise", "rich")


def test_help_lists_every_command_and_every_exit_code_in_80_columns(tmp_path: Path) -> None:
    """No line is cut, nothing is coloured where it is no terminal."""
    ended = forewarn("--help", cwd=tmp_path)
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout
    assert "..." not in ended.stdout.replace("[ARGS]...", "")
    assert all(len(line) <= 80 for line in ended.stdout.splitlines())
    commands = ended.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    listed = re.findall(r"^  ([a-z-]+) ", commands, flags=re.MULTILINE)
    assert listed == list(COMMANDS)
    for code, meaning in EXIT_CODES:
        assert re.search(rf"^ +{code.value}  {re.escape(meaning)}$", ended.stdout, flags=re.MULTILINE)


def test_the_name_alone_prints_the_help(tmp_path: Path) -> None:
    """On stdout and with 0: who types it asks what there is."""
    ended = forewarn(cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == forewarn("--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    """Written out as it would be typed."""
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert re.search(rf"Examples?.*:\n(.*\n)*.*forewarn.*{command}", result.output)
    assert all(len(line) <= 80 for line in result.output.splitlines())


def test_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    """`forewarn --help` answers at once, and a part that cannot be imported breaks no other command."""
    code = f"import sys, forewarn.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean_environment(), cwd=tmp_path
    )
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["valdate"], "forewarn: No such command 'valdate'. Did you mean 'validate'? (see `forewarn --help`)"),
        (["check"], "forewarn: Missing argument 'URL' (see `forewarn check --help`)"),
        (
            ["init", "--frce"],
            "forewarn: No such option: --frce (Possible options: --force) (see `forewarn init --help`)",
        ),
        (["worker", "sinks"], "forewarn: Invalid value for 'detect|incidents|alerts|sink'"),
        (["tail", "--limit", "0"], "forewarn: Invalid value for '--limit' / '-n'"),
    ],
)
def test_wrong_usage_is_one_line_and_ends_with_2(words: list[str], said: str, tmp_path: Path) -> None:
    """And it says where the help is."""
    ended = forewarn(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_the_version(tmp_path: Path) -> None:
    """That of the installed package."""
    assert re.fullmatch(r"forewarn \d+\.\d+\.\d+\n", forewarn("--version", cwd=tmp_path).stdout)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ConfigError("f", []), 2),
        (LogUnavailableError("x"), 3),
        (NotRunningError("x"), 3),
        (LogRefusedError("x"), 4),
        (OutboxLockedError("x"), 4),
        (CommandError("x"), 4),
        (CommandError("x", ExitCode.NEGATIVE), 1),
        (WorkerFailedError("x"), 70),
        (EpochChangedError("x"), 75),
    ],
)
def test_every_error_has_its_exit_code(error: ForewarnError, code: int) -> None:
    """Supervisors and scripts rely on them."""
    assert exit_code_of(error) == code


def test_a_bug_is_one_line_and_its_traceback_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file is the owner's alone; with --debug, wherever it stands, the traceback is on stderr instead."""

    def broken() -> None:
        raise ZeroDivisionError("for the test")

    monkeypatch.setattr(schema_command, "schema", broken)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert run(["schema"]) == 70
    said = capsys.readouterr().err
    found = re.fullmatch(r"forewarn: a bug of ours: ZeroDivisionError: for the test \(traceback in (\S+)\)\n", said)
    assert found is not None
    kept = Path(found[1])
    assert "in broken" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert run(["schema", "--debug"]) == 70
    assert "in broken" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    """`sql -` reads stdin until its end; SIGINT ends it with 130 and without a word."""
    code = (
        "import sys, time, forewarn.cli\n"
        "class Stdin:\n"
        "    def read(self):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "sys.stdin = Stdin()\n"
        "sys.exit(forewarn.cli.run(['sql', '-']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_that_has_enough_ends_us_in_order(tmp_path: Path) -> None:
    """`forewarn schema | head -1`: no traceback, no complaint."""
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m forewarn schema | head -c 1"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{", "")


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 14)])
def test_another_python_is_refused_in_one_line(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything of ours is imported."""
    monkeypatch.setattr("sys.version_info", (*version, 0))
    assert entry.main() == 2  # type: ignore[no-untyped-call] # any Python 3 parses that file
    said = "forewarn: needs Python 3.11, 3.12 or 3.13; this is %d.%d\n"
    assert capsys.readouterr().err == said % version


def test_old_pythons_can_parse_what_refuses_them() -> None:
    """A SyntaxError would be all that they say otherwise."""
    ast.parse(Path(entry.__file__).read_text(), feature_version=(3, 4))
