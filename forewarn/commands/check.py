"""`forewarn check`: one check now, its phases as users of `curl -w` expect them."""

import asyncio
import dataclasses
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from rich.text import Text

from forewarn.config.text import host_problem, parse_duration, parse_statuses, split_host_port, split_url
from forewarn.errors import CommandError, ExitCode, UsageError
from forewarn.output import OUTCOME_STYLES, console, ms, print_line
from forewarn.places import now_us
from producers.contract import PHASES, Check, Outcome
from producers.masking import mask_url
from producers.probes.run import run_probe
from producers.settings import HostOptions, HttpOptions, Probe, ProbeKind, ProbeOptions, Target, TcpOptions, TlsOptions

LOCATION: Final = "here"
_FORMS: Final = "expected http(s)://..., tls://HOST:PORT, tcp://HOST:PORT, or host"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What the command line says beside the URL, as it was written."""

    timeout: str = "10s"
    expect_status: str = "200-299"
    follow_redirects: bool = False
    insecure: bool = False
    ca_file: Path | None = None


def check(url: str, options: CheckOptions, *, as_json: bool) -> None:
    """Run one check and print it.

    Raises:
        UsageError: It is no URL that can be checked, or an option is wrong.
        CommandError: The check failed (exit code 1).
    """
    kind, probe_options, shown = _probe_options(url, options)
    deadline_us = _deadline_us(options.timeout)
    probe = Probe(
        name=kind,
        kind=kind,
        interval_us=60_000_000,
        timeout_us=deadline_us,
        locations=(LOCATION,),
        options=probe_options,
    )
    target = Target(id="main/check", probes=(probe,))
    found = asyncio.run(
        run_probe(target, probe, location=LOCATION, scheduled_at_us=now_us(), deadline_s=deadline_us / 1e6)
    )
    if as_json:
        sys.stdout.write(json.dumps(_as_json(found, shown)) + "\n")
    else:
        _print(found, shown)
    if found.outcome is not Outcome.SUCCESS:
        raise CommandError(f"the check failed: {_why(found)}", ExitCode.NEGATIVE)


def _probe_options(url: str, options: CheckOptions) -> tuple[ProbeKind, ProbeOptions, str]:
    """Return the kind, what is asked, and the address as it may be shown."""
    if options.ca_file is not None and not options.ca_file.is_file():
        raise UsageError(f"--ca-file: the file {options.ca_file} does not exist")
    if url == "host":
        return "host", HostOptions(), "this machine"
    scheme = urlsplit(url).scheme if "://" in url else ""
    try:
        if scheme in {"tls", "tcp"}:
            return _of_port("tls" if scheme == "tls" else "tcp", url.removeprefix(f"{scheme}://"), options)
        if scheme not in {"", "http", "https"}:
            raise UsageError(f"'{scheme}://' cannot be checked, {_FORMS}")
        whole = url if scheme else f"https://{url}"
        split_url(whole)
    except ValueError as error:
        raise UsageError(f"{mask_url(url)}: {error}") from error
    http = HttpOptions(
        url=whole,
        expect_status=_statuses(options.expect_status),
        follow_redirects=options.follow_redirects,
        verify_tls=not options.insecure,
        ca_file=options.ca_file,
    )
    return "http", http, mask_url(whole)


def _of_port(kind: Literal["tls", "tcp"], rest: str, options: CheckOptions) -> tuple[ProbeKind, ProbeOptions, str]:
    place = rest.rstrip("/")
    if kind == "tls" and re.search(r":[0-9]+\Z", place) is None and host_problem(place) is None:
        place = f"{place}:443"
    host, port = split_host_port(place)
    shown = f"{kind}://{place}"
    if kind == "tls":
        return "tls", TlsOptions(host=host, port=port, verify=not options.insecure, ca_file=options.ca_file), shown
    return "tcp", TcpOptions(host=host, port=port), shown


def _statuses(text: str) -> frozenset[int]:
    try:
        return parse_statuses(text)
    except ValueError as error:
        raise UsageError(f"--expect-status: {error}") from error


def _deadline_us(text: str) -> int:
    try:
        duration_us = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from error
    assert isinstance(duration_us, int)
    if not 10_000 <= duration_us <= 3_600_000_000:
        raise UsageError(f"--timeout: expected 10ms to 1h, got {text}")
    return duration_us


def _as_json(found: Check, shown: str) -> dict[str, Any]:
    fields = dataclasses.asdict(found)
    # Only what says something outside of an installation.
    named = (
        *("kind", "started_at_us", "outcome", "reason", "detail", "address", "http_status"),
        *("duration_us", "phases", "metrics"),
    )
    return {"url": shown} | {name: fields[name] for name in named}


def _why(found: Check) -> str:
    reason = (found.reason or "unknown reason").replace("_", " ")
    return f"{reason}: {found.detail}" if found.detail else reason


def _print(found: Check, shown: str) -> None:
    head = Text(f"{shown}  ")
    head.append(found.outcome.value, style=OUTCOME_STYLES[found.outcome.value])
    parts = [f"status {found.http_status}" if found.http_status is not None else "", found.address or ""]
    said = ", ".join(part for part in parts if part)
    print_line(head.append(f"  {said}" if said else ""))
    if found.outcome is not Outcome.SUCCESS:
        print_line(f"  {_why(found)}")
    rows = [(phase, ms(found.phases[phase]), " ms") for phase in PHASES if phase in found.phases]
    rows.append(("total", ms(found.duration_us), " ms"))
    readings = [(name, _reading(value), _unit(name)) for name, value in sorted(found.metrics.items())]
    width = max(len(name) for name, _, _ in rows + readings)
    digits = max(len(value) for _, value, _ in rows + readings)
    for name, value, unit in rows + readings:
        style = "bold" if name == "total" else ""
        console().print(Text(f"  {name:<{width}}  {value:>{digits}}{unit}", style=style), soft_wrap=True)


def _reading(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _unit(name: str) -> str:
    if name.endswith("_days_left"):
        return " days"
    return " bytes" if name.partition(":")[0].endswith("_bytes") else ""
