"""`forewarn validate`: checks a config and says what it would do."""

import sys
from pathlib import Path

from forewarn.config.config import Config, load
from forewarn.config.text import duration_text
from forewarn.output import print_line
from producers.masking import mask_url
from producers.settings import HttpOptions, LogSettings, Probe, TcpOptions, TlsOptions

_MOST_TARGETS = 20


def validate(path: Path) -> None:
    """Print what an accepted config would do; what may be wrong goes to stderr.

    Raises:
        ConfigError: It is refused; the error has a line for each problem.
    """
    config = load(path)
    config.check_channels()
    for warning in config.warnings():
        sys.stderr.write(f"{warning} (a warning)\n")
    print_line(f"{path} is in order")
    for what, text in summary(config):
        print_line(f"  {what:<10} {text}")


def summary(config: Config) -> list[tuple[str, str]]:
    """Return what a config would do, as pairs of subject and text."""
    targets = config.targets()
    rate = sum(len(probe.locations) * 60e6 / probe.interval_us for target in targets for probe in target.probes)
    lines = [("locations", ", ".join(config.location_names()))]
    rows = [(target.id, probe) for target in targets[:_MOST_TARGETS] for probe in target.probes]
    widths = (max(len(target) for target, _ in rows), max(len(_named(probe)) for _, probe in rows))
    last = ""
    for target, probe in rows:
        subject, shown = ("" if last else "targets"), ("" if target == last else target)
        every = f"every {duration_text(probe.interval_us)}"
        lines.append((subject, f"{shown:<{widths[0]}}  {_named(probe):<{widths[1]}}  {every:<10}  {_address(probe)}"))
        last = target
    if len(targets) > _MOST_TARGETS:
        lines.append(("", f"and {len(targets) - _MOST_TARGETS} more"))
    lines.append(("checks", f"{rate:,.1f} a minute"))
    lines.append(("log", _log_text(config.log_settings()) if config.has_log else "the embedded broker"))
    lines.append(("store", mask_url(config.store_settings().url) if config.has_store else "the embedded store"))
    lines.append(("alerts", _alerts_text(config)))
    report = config.report_settings()
    lines.append(
        ("report", f"objective {report.objective * 100:g} %, unknown time {report.unknown}, {report.time_zone}")
    )
    return lines


def _named(probe: Probe) -> str:
    return probe.kind if probe.name == probe.kind else f"{probe.kind} {probe.name}"


def _address(probe: Probe) -> str:
    options = probe.options
    if isinstance(options, HttpOptions):
        return mask_url(options.url)
    if isinstance(options, TlsOptions | TcpOptions):
        return f"{options.host}:{options.port}"
    return ", ".join(options.mounts)


def _log_text(log: LogSettings) -> str:
    return f"Kafka at {', '.join(log.bootstrap)} ({log.security}), {log.partitions} partitions"


def _alerts_text(config: Config) -> str:
    channels = config.alert_policy().channels
    if not channels:
        return "no channels: incidents are recorded, nobody is told"
    return ", ".join(f"{channel.name} (pages)" if channel.pages else channel.name for channel in channels)
