"""Logs without secrets, health that never guesses, metrics whose names are in one place."""

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import REGISTRY

from producers import telemetry
from producers.errors import ForewarnError

ROOT = Path(telemetry.__file__).parent.parent


def logged(code: str, *, as_json: bool) -> str:
    """Return what a process with our logging writes to stderr."""
    script = textwrap.dedent(f"""
        import logging
        from producers import telemetry
        log = telemetry.logger("part")
        telemetry.configure_logging(json={as_json})
    """) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_a_log_line_is_one_json_object_with_time_level_and_name() -> None:
    """Ours and those of libraries alike."""
    lines = logged(
        """
        log.info("stored", rows=3)
        logging.getLogger("library").warning("about %s", "something")
        """,
        as_json=True,
    ).splitlines()
    first, second = map(json.loads, lines)
    assert (first["event"], first["rows"], first["level"], first["logger"]) == ("stored", 3, "info", "part")
    assert (second["event"], second["logger"]) == ("about something", "library")
    assert first["timestamp"].endswith("Z")


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_masked_whoever_logs_them(as_json: bool) -> None:
    """Userinfo and query values of URLs, values under telling names, in events, values and tracebacks."""
    text = logged(
        """
        log.warning("cannot reach https://bob:geheim1@shop.example/pay?card=geheim2", password="geheim3")
        log.info("x", url="http://shop.example/?t=geheim4", api_token="geheim5", error=ValueError("http://u:geheim6@h/"))
        logging.getLogger("library").error("GET http://shop.example/a?key=geheim7")
        try:
            raise ValueError("http://u:geheim8@h/")
        except ValueError:
            log.exception("failed")
        """,
        as_json=as_json,
    )
    assert "geheim" not in text
    assert "shop.example" in text
    assert "failed" in text


def test_an_outage_is_not_repeated_by_the_client_library() -> None:
    """Our own line says it once; kafka-python's hundreds do not drown it."""
    assert logged('logging.getLogger("kafka.net.manager").error("Bootstrap failed")', as_json=True) == ""


async def answer_of(health: telemetry.Health) -> tuple[int, dict[str, object]]:
    """Return status and body of /healthz."""
    observation = await telemetry.serve_observation("127.0.0.1", 0, health)
    try:
        url = f"http://127.0.0.1:{observation.port}/healthz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.json()
    finally:
        await observation.close()


async def test_health_is_200_only_if_ok_is_true() -> None:
    """False, missing or anything else is 503."""
    assert await answer_of(lambda: {"ok": True, "lag": 3}) == (200, {"ok": True, "lag": 3})
    assert (await answer_of(lambda: {"ok": False}))[0] == 503
    assert (await answer_of(dict))[0] == 503
    assert (await answer_of(lambda: {"ok": "yes"}))[0] == 503


async def test_health_that_cannot_be_told_is_not_healthy() -> None:
    """The error is said, without secrets."""

    def broken() -> dict[str, object]:
        raise RuntimeError("http://u:geheim@store/")

    status, body = await answer_of(broken)
    assert status == 503
    assert body["ok"] is False
    assert "RuntimeError" in str(body["error"])
    assert "geheim" not in str(body)


async def test_metrics_are_prometheus_text() -> None:
    """With the counters of this process."""
    observation = await telemetry.serve_observation("127.0.0.1", 0, lambda: {"ok": True})
    telemetry.DEAD_LETTERS.labels("detect", "malformed").inc()
    try:
        url = f"http://127.0.0.1:{observation.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            text = await answer.text()
    finally:
        await observation.close()
    assert 'forewarn_dead_letters_total{group="detect",reason="malformed"}' in text


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    """It names host and port."""
    first = await telemetry.serve_observation("127.0.0.1", 0, lambda: {"ok": True})
    try:
        with pytest.raises(ForewarnError, match=f"on 127.0.0.1:{first.port}: "):
            await telemetry.serve_observation("127.0.0.1", first.port, lambda: {"ok": True})
    finally:
        await first.close()
        await first.close()


def test_every_metric_is_defined_in_this_one_file() -> None:
    """No other file makes a counter, gauge or histogram: dashboards are written from one page."""
    kinds = {"Counter", "Gauge", "Histogram", "Summary"}
    for path in ROOT.glob("*/**/*.py"):
        if path == Path(telemetry.__file__) or path.relative_to(ROOT).parts[0] not in {
            *("forewarn", "producers", "streams", "analytics", "console"),
        }:
            continue
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
            for alias in node.names
        }
        assert not imported & kinds, path


def test_metric_names_have_our_prefix_and_no_label_holds_a_target() -> None:
    """Labels are bounded: a thousand targets must not be a thousand time series."""
    ours = [one for name, one in vars(telemetry).items() if name.isupper() and hasattr(one, "_labelnames")]
    assert len(ours) > 20
    for metric in ours:
        assert metric._name.startswith("forewarn_")
        assert not {"target", "url", "address", "incident"} & set(metric._labelnames)
        assert metric._documentation
    names = {metric.name for metric in REGISTRY.collect()}
    assert {metric._name for metric in ours} <= names
