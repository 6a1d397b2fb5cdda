"""Commands that need neither broker nor store: init, schema, check, healthcheck, and runtime.json."""

import asyncio
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from forewarn.cli import run
from forewarn.commands.init import example
from forewarn.commands.schema import config_schema
from forewarn.config.config import load_text
from forewarn.errors import CommandError, ConfigError, NotRunningError
from forewarn.runtime import FILE_NAME, Runtime, read_runtime, remove_runtime, write_runtime
from tests.forewarn.cli_process import forewarn
from tests.servers import Authority, HttpServer


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers: / and /healthz are well, /ill is not, everything else is not there."""

    def do_GET(self) -> None:
        """Answer one request."""
        code = {"/": 200, "/healthz": self.server.health}.get(self.path.partition("?")[0], 404)  # type: ignore[attr-defined] # set below
        body = b'{"ok": false, "trouble": "no broker"}' if code == 503 else b'{"ok": true}'
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    """A real HTTP server on a free port; its `health` is the status of /healthz."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as serving:
        serving.health = 200  # type: ignore[attr-defined] # read by Pages
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def port_of(server: http.server.ThreadingHTTPServer) -> int:
    """The port that it listens on."""
    return int(server.server_address[1])


def test_init_writes_a_config_that_validate_accepts(tmp_path: Path) -> None:
    """And says what comes next."""
    ended = forewarn("init", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[0] == "wrote forewarn.yaml"
    assert "forewarn validate && forewarn up" in ended.stdout
    assert forewarn("validate", cwd=tmp_path).returncode == 0
    assert forewarn("init", "-", cwd=tmp_path).stdout == example()


def test_init_never_overwrites_unless_told(tmp_path: Path) -> None:
    """Exit code 4 and the file as it was; --force replaces it; a directory that is not there is one line."""
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    ended = forewarn("init", "mine.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (4, "forewarn: mine.yaml is there already; --force overwrites it\n")
    assert path.read_text() == "mine"
    assert forewarn("init", "mine.yaml", "--force", cwd=tmp_path).returncode == 0
    assert path.read_text() == example()
    ended = forewarn("init", "no/where.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (4, 1)


def test_every_commented_line_of_the_example_is_a_valid_config_too() -> None:
    """What a user uncomments works: the example without its comment signs is accepted by the schema."""
    section = re.compile(r"^( *)# (( *)(- |[a-z_]+:).*)$")
    lines = [section.sub(r"\1\2", line) for line in example().splitlines()]
    text = "\n".join(lines).replace("  channels: []\n", "  channels:\n")
    document = yaml.safe_load(text)
    assert set(document) >= {"log", "store", "alerts", "detection"}
    jsonschema.Draft202012Validator(config_schema()).validate(document)
    assert document["log"]["security"] == "sasl_ssl"
    assert document["alerts"]["channels"][1]["pages"] is True
    assert document["targets"][2]["probes"] == [{"tcp": {"host": "mail.example.org", "port": 25, "expect": "220"}}]


def every_property(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all keys that a schema names, with their paths."""
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            yield f"{path}.{name}", value
        for name, value in node.items():
            yield from every_property(value, f"{path}/{name}")


def test_the_schema_is_valid_and_describes_every_key(tmp_path: Path) -> None:
    """By another implementation of JSON Schema; what editors show is never empty nor a made-up title."""
    schema = json.loads(forewarn("schema", cwd=tmp_path).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    found = dict(every_property(schema))
    assert len(found) > 80
    described = {
        path: value.get("description") or schema["$defs"][value["$ref"].rpartition("/")[2]]["description"]
        for path, value in found.items()
    }
    assert all(described.values())
    durations = [value for path, value in found.items() if path.endswith((".interval", ".horizon"))]
    assert all("pattern" in json.dumps(value) for value in durations)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("targets: [{url: 'https://h'}]", True),
        ("x-a: 1\ntargets: [{name: x, probes: [{tls: 'h:443'}, {tcp: {host: h, port: 1}}, {host: }]}]", True),
        ("targets: [{name: x, probes: [{http: {url: 'http://h', expect_status: 200}}]}]", True),
        ("alerts: {reminder: never}\nlog: {bootstrap: 'a:1,b:2'}\ntargets: [{url: 'http://h'}]", True),
        ("targets: [{url: 'http://h', interval: 30}]", False),
        ("targets: [{url: 'http://h', interval: 30 s}]", False),
        ("targets: [{url: 'http://h', intervall: 30s}]", False),
        ("targets: [{name: x, probes: [{http: {url: 'http://h', expect_status: [2xx]}}]}]", False),
        ("targets: [{name: x, probes: [{tcp: {host: h, port: 0}}]}]", False),
        ("version: 2\ntargets: [{url: 'http://h'}]", False),
        ("version: 1", False),
    ],
)
def test_editors_and_validate_agree(text: str, accepted: bool) -> None:
    """What the schema underlines is what `validate` refuses."""
    schema = jsonschema.Draft202012Validator(config_schema())
    assert schema.is_valid(yaml.safe_load(text)) is accepted
    refused: ConfigError | None = None
    try:
        load_text(text.encode(), path=Path("f.yaml"), env={})
    except ConfigError as error:
        refused = error
    assert (refused is None) is accepted, refused


def test_check_prints_phases_in_order_and_aligned(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """A table that is read at a glance; query values are masked."""
    url = f"http://127.0.0.1:{port_of(server)}/"
    ended = forewarn("check", f"{url}?key=s3cret", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    head, *rows = ended.stdout.splitlines()
    assert head == f"{url}?key=***  success  status 200, 127.0.0.1"
    assert [row.split()[0] for row in rows] == ["connect", "wait", "transfer", "total", "response_bytes"]
    times = [row for row in rows if row.endswith(" ms")]
    assert len({row.index(" ms") for row in times}) == 1
    assert "\x1b" not in ended.stdout


def test_check_as_json_says_the_same(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """One object, integer microseconds."""
    url = f"http://127.0.0.1:{port_of(server)}/"
    found = json.loads(forewarn("check", url, "--json", cwd=tmp_path).stdout)
    assert (found["url"], found["outcome"], found["http_status"], found["reason"]) == (url, "success", 200, None)
    assert set(found["phases"]) == {"connect", "wait", "transfer"}
    assert all(isinstance(value, int) for value in [found["duration_us"], *found["phases"].values()])


def test_a_check_that_fails_ends_with_1_and_says_why(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """What was seen is still printed; --expect-status changes the judgement."""
    url = f"http://127.0.0.1:{port_of(server)}/nope"
    ended = forewarn("check", url, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[:2] == [
        f"{url}  failure  status 404, 127.0.0.1",
        "  http status: status 404, expected 200-299",
    ]
    assert ended.stderr == "forewarn: the check failed: http status: status 404, expected 200-299\n"
    assert forewarn("check", url, "--expect-status", "200,400-404", cwd=tmp_path).returncode == 0


def test_check_of_other_kinds(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """A TCP port, this machine, and a port where nobody speaks TLS."""
    port = port_of(server)
    assert forewarn("check", f"tcp://127.0.0.1:{port}", cwd=tmp_path).stdout.startswith(f"tcp://127.0.0.1:{port}  succ")
    host = forewarn("check", "host", cwd=tmp_path)
    assert "memory_used_ratio" in host.stdout
    assert "disk_free_ratio:/" in host.stdout
    tls = forewarn("check", f"tls://127.0.0.1:{port}", cwd=tmp_path)
    assert tls.returncode == 1
    assert tls.stderr.startswith("forewarn: the check failed: tls error: ")
    assert tls.stderr.count("\n") == 1


async def test_check_shows_the_days_that_a_certificate_has_left(tmp_path: Path) -> None:
    """With a private authority by --ca-file; without it the chain is not trusted."""
    authority = Authority()
    ca_file = authority.write(tmp_path)
    async with HttpServer(tls=authority.server("localhost", days_left=9.0)) as serving:
        url = f"https://localhost:{serving.port}/"
        trusted = await asyncio.to_thread(forewarn, "check", url, "--ca-file", ca_file, cwd=tmp_path)
        refused = await asyncio.to_thread(forewarn, "check", url, cwd=tmp_path)
    assert re.search(r"^  tls_days_left +(8\.9|9\.0|9|9\.000) days$", trusted.stdout, flags=re.MULTILINE), (
        trusted.stdout
    )
    assert refused.returncode == 1
    assert "tls error" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://h"], "forewarn: 'ftp://' cannot be checked, expected http(s)://..., tls://HOST:PORT"),
        (["https://u:s3cret@a b/"], "forewarn: https://***@a b/: a URL holds no blanks"),
        (["tcp://h"], "forewarn: tcp://h: expected host:port"),
        (["tls://h:0"], "forewarn: tls://h:0: expected host:port"),
        (["http://h", "--timeout", "5"], "forewarn: --timeout: expected a duration such as 30s"),
        (["http://h", "--timeout", "1d"], "forewarn: --timeout: expected 10ms to 1h, got 1d"),
        (["http://h", "--expect-status", "2xx"], "forewarn: --expect-status: expected a status such as 204"),
        (["http://h", "--ca-file", "nope"], "forewarn: --ca-file: the file nope does not exist"),
    ],
)
def test_check_refuses_what_cannot_be_checked(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line without the secret."""
    assert run(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert "s3cret" not in err
    assert err.count("\n") == 1


def test_healthcheck_answers_by_its_exit_code(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """0 well, 1 not well, 1 nobody there."""
    port = str(port_of(server))
    assert forewarn("healthcheck", "--port", port, cwd=tmp_path).returncode == 0
    server.health = 503  # type: ignore[attr-defined] # read by Pages
    ended = forewarn("healthcheck", "--port", port, cwd=tmp_path)
    assert ended.returncode == 1
    assert 'says 503: {"ok": false, "trouble": "no broker"}' in ended.stderr
    ended = forewarn("healthcheck", "--port", "1", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (
        1,
        "forewarn: http://127.0.0.1:1/healthz does not answer: Connection refused\n",
    )


def test_runtime_is_read_as_written_and_by_its_owner_only(tmp_path: Path) -> None:
    """The token equals the owner of the machine; nothing is left beside the file."""
    runtime = Runtime(pid=os.getpid(), bootstrap="127.0.0.1:1", store_url="http://127.0.0.1:2", store_token="t")
    write_runtime(tmp_path, runtime)
    write_runtime(tmp_path, runtime)
    assert read_runtime(tmp_path) == runtime
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert "store_token" not in repr(runtime)
    remove_runtime(tmp_path)
    remove_runtime(tmp_path)
    with pytest.raises(NotRunningError, match=r"no forewarn is running on .*: start `forewarn up`"):
        read_runtime(tmp_path)


def test_a_runtime_of_a_process_that_was_killed_is_no_runtime(tmp_path: Path) -> None:
    """`forewarn up` could not remove it: the process id tells."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_runtime(tmp_path, Runtime(pid=ended.pid, bootstrap="b:1", store_url="http://s", store_token="t"))
    with pytest.raises(NotRunningError, match=rf"process {ended.pid}, which wrote runtime\.json, has ended"):
        read_runtime(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"pid": "1", "bootstrap": "", "store_url": "", "store_token": ""}']
)
def test_a_damaged_runtime_is_told(text: str, tmp_path: Path) -> None:
    """With what to do about it."""
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CommandError, match="remove it and start `forewarn up`"):
        read_runtime(tmp_path)


@pytest.mark.parametrize("words", [["sql", "SELECT 1"], ["tail"], ["dead-letters"], ["report", "--month", "2026-01"]])
def test_without_a_running_up_there_is_nothing_to_ask(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and how to start it."""
    monkeypatch.chdir(tmp_path)
    assert run(words) == 3
    assert capsys.readouterr().err == "forewarn: no forewarn is running on forewarn-data: start `forewarn up`\n"
