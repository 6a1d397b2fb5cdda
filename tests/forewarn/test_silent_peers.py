"""Commands whose broker or store takes the connection and never says a word: one line, within their bound."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forewarn.errors import ExitCode
from tests.forewarn.cli_process import DEADLINE_S, forewarn, start

ASKED = "no answer to the TLS handshake: does the broker speak TLS there?"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a listener that accepts and is silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def configure(directory: Path, *, log: str, store: str) -> None:
    """Write a config."""
    (directory / "forewarn.yaml").write_text(
        f"log: {{bootstrap: '{log}', security: ssl}}\nstore: {{url: '{store}'}}\n"
        "targets: [{url: 'http://127.0.0.1:9/', interval: 1s, timeout: 900ms}]\n"
    )


@pytest.mark.parametrize("words", [["tail"], ["migrate"]])
def test_a_command_ends_in_one_line_that_asks_for_tls(tmp_path: Path, silent: int, words: list[str]) -> None:
    """Exit code 3: it may pass."""
    configure(tmp_path, log=f"127.0.0.1:{silent}", store="http://127.0.0.1:9")
    ended = forewarn(*words, cwd=tmp_path)
    assert ended.returncode == ExitCode.UNREACHABLE, ended.stderr
    assert ASKED in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(["producer", "--location", "local"], "not sent, kept on disk"), (["worker", "detect"], "waiting for the broker")],
)
def test_a_process_that_goes_on_says_what_it_waits_for(
    tmp_path: Path, silent: int, words: list[str], said: str
) -> None:
    """In its log, with the same question."""
    configure(tmp_path, log=f"127.0.0.1:{silent}", store="http://127.0.0.1:9")
    process = start(*words, "--data-dir", tmp_path / "data", cwd=tmp_path)
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if said in line:
                break
        assert said in lines[-1], lines
        assert ASKED in lines[-1]
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_the_first_question_to_a_store_has_a_short_deadline(tmp_path: Path, silent: int) -> None:
    """A listener that never answers is a store that cannot be reached."""
    configure(tmp_path, log="127.0.0.1:9", store=f"http://127.0.0.1:{silent}")
    ended = forewarn("sql", "SELECT 1", cwd=tmp_path)
    assert ended.returncode == ExitCode.UNREACHABLE, ended.stderr
    assert ended.stderr == f"forewarn: the store at http://127.0.0.1:{silent} cannot be reached: timed out\n"
