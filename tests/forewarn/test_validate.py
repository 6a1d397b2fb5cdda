"""A config that is refused: every problem with file, line, key, what was wrong, what was expected."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forewarn.config.config import load, load_text
from forewarn.errors import ConfigError
from tests.forewarn.cli_process import forewarn

REFUSED = (Path(__file__).parent / "refused_configs.txt").read_text().split("\n----\n")
MARK = "=> "


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the files that some of the refused configs name."""
    (tmp_path / "secret-hook").write_text("hook-secret\n")
    (tmp_path / "empty").write_text("\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("block", REFUSED)
def test_a_refused_config_is_told_exactly(block: str) -> None:
    """One line a problem, as written in refused_configs.txt, and no secret in it."""
    lines = block.splitlines()
    text = "".join(f"{line}\n" for line in lines if not line.startswith(MARK))
    expected = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), path=Path("f.yaml"), env={})
    assert str(caught.value).splitlines() == expected
    assert "secret" not in str(caught.value).replace("secret-hook", "")


def test_an_unset_variable_and_its_default(directory: Path) -> None:
    """The line of the key that needs it; with a default nothing is missing."""
    path = directory / "f.yaml"
    path.write_text("targets:\n  - url: https://${HOST}/\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: targets\[0\]\.url: the environment variable HOST is not set"):
        load(path, env={})
    path.write_text("targets:\n  - url: https://${HOST:-example.org}/\n")
    assert load(path, env={}).targets()[0].id == "main/example.org"
    assert load(path, env={"HOST": "h"}).targets()[0].id == "main/h"


def test_variables_are_for_secrets_and_addresses_only() -> None:
    """In a name or a duration `${...}` is what is written, and so it is refused."""
    text = b"targets: [{name: '${NAME}', interval: '${INTERVAL}', url: 'http://h'}]"
    with pytest.raises(ConfigError) as caught:
        load_text(text, path=Path("f.yaml"), env={"NAME": "x", "INTERVAL": "30s"})
    assert [problem.key for problem in caught.value.problems] == ["targets[0].name", "targets[0].interval"]


def test_a_file_that_is_not_text_or_not_there(directory: Path) -> None:
    """The first says its line, the second how to write one."""
    path = directory / "f.yaml"
    with pytest.raises(ConfigError, match=r"f\.yaml: cannot be read: No such file.*forewarn init"):
        load(path)
    path.write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: not UTF-8 text"):
        load(path)


def test_aliases_that_multiply_are_refused_before_memory_is_full() -> None:
    """A few lines of YAML can stand for billions of values."""
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="too large or nested too deeply"):
        load_text("\n".join(lines).encode(), path=Path("f.yaml"), env={})


def test_thousands_of_brackets_are_refused() -> None:
    """Deep nesting is a refusal, not an end of the stack."""
    with pytest.raises(ConfigError, match=r"nested too deeply"):
        load_text(b"targets: " + b"[" * 2_000, path=Path("f.yaml"), env={})


@settings(max_examples=200)
@given(
    st.one_of(
        st.text().map(str.encode),
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["targets", "url", "name", "probes", "http", "tls", "locations", "log", "alerts"]),
                    inner,
                    max_size=4,
                )
            ),
        ).map(lambda tree: repr(tree).encode(errors="replace")),
    )
)
def test_whatever_is_written_is_accepted_or_refused_with_a_line(text: bytes) -> None:
    """No other error, and no problem without text."""
    refused: tuple[str, ...] = ()
    try:
        load_text(text, path=Path("f.yaml"), env={})
    except ConfigError as error:
        refused = tuple(str(error).split("\n"))
    assert all(line.startswith("f.yaml:") and not line.endswith(": ") for line in refused)


def test_the_command_names_every_problem_and_ends_with_2(tmp_path: Path) -> None:
    """On stderr, nothing on stdout, sorted by line."""
    (tmp_path / "forewarn.yaml").write_text("targets:\n  - url: ftp://h\n    interval: 1\n    tiemout: 2s\n")
    ended = forewarn("validate", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "forewarn.yaml:2: targets[0].url: scheme 'ftp', expected a URL such as https://example.org/path",
        "forewarn.yaml:3: targets[0].interval: expected a duration such as 30s, 5m, 1h or 7d, got 1",
        "forewarn.yaml:4: targets[0].tiemout: unknown key, did you mean timeout?",
    ]


def test_the_command_says_what_a_good_config_would_do(tmp_path: Path) -> None:
    """Within 80 columns, without control characters, secrets masked."""
    (tmp_path / "forewarn.yaml").write_text(
        "alerts: {channels: [{name: ops, webhook: 'https://h/s3cret'}, {name: p, webhook: 'http://h', pages: true}]}\n"
        "targets:\n  - url: https://u:s3cret@shop.example/?key=s3cret\n    interval: 1m\n"
    )
    ended = forewarn("validate", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "forewarn.yaml is in order",
        "  locations  local",
        "  targets    main/shop.example  http  every 1m    https://***@shop.example/?key=***",
        "                                tls   every 1m    shop.example:443",
        "  checks     2.0 a minute",
        "  log        the embedded broker",
        "  store      the embedded store",
        "  alerts     ops, p (pages)",
        "  report     objective 99.9 %, unknown time excluded, UTC",
    ]


def test_a_mount_that_is_not_here_is_a_warning(tmp_path: Path) -> None:
    """With its line, on stderr: the config may be for another machine, so it is in order."""
    (tmp_path / "forewarn.yaml").write_text(
        f"targets:\n  - name: m\n    probes:\n      - host:\n          mounts: ['{tmp_path}', /no/such/mount]\n"
    )
    ended = forewarn("validate", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.startswith("forewarn.yaml is in order\n")
    assert ended.stderr == (
        "forewarn.yaml:5: targets[0].probes[0].host.mounts[1]: /no/such/mount does not exist on this machine, "
        "the probe fails where that is so (a warning)\n"
    )


def test_the_command_asks_apprise_whether_it_knows_the_address(tmp_path: Path) -> None:
    """A service that does not exist would be seen only when the first alert is lost."""
    (tmp_path / "forewarn.yaml").write_text(
        "targets: [{url: 'http://h'}]\nalerts:\n  channels:\n    - name: ops\n      apprise: nosuchservice://token\n"
    )
    ended = forewarn("validate", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("forewarn.yaml:5: alerts.channels[0].apprise: Apprise knows no such address")
    assert "token" not in ended.stderr
