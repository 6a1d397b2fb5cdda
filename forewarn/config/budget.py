"""What the installation's budgets of false alarms mean for one series and one target."""

from collections.abc import Collection
from dataclasses import replace
from math import comb
from typing import Final

from producers.settings import HostOptions, HttpOptions, Probe, Target
from streams.policy import DetectPolicy, IncidentPolicy

HOST_METRICS: Final = 3
"""Processor, load, memory; each mount adds its free space and its inodes."""

SIGNALS: Final = 3
"""Independent signals of a target: latency, failures, metrics."""

FALSE_WARNING_HOURS: Final = 1.0
"""So long a false warning is taken to last, when it is asked how often two of them meet by chance."""

WEEK_HOURS: Final = 168.0
MONTH_WEEKS: Final = 365.25 / 12 / 7


def series_count(targets: Collection[Target]) -> int:
    """Return how many series are watched: latency and metrics of each probe from each location, failures of each."""
    return sum(1 + len(probe.locations) * _metrics(probe) for target in targets for probe in target.probes)


def divided(policy: DetectPolicy, false_warnings_per_week: float | None, series: int) -> DetectPolicy:
    """Return a policy whose series share the installation's budget; None leaves each series its own."""
    if false_warnings_per_week is None:
        return policy
    return replace(policy, false_warnings_per_series_week=false_warnings_per_week / max(series, 1))


def agreeing_signals(
    policy: IncidentPolicy, detect: DetectPolicy, false_pages_per_month: float, *, targets: int, series: int
) -> IncidentPolicy:
    """Return a policy whose early warnings page when so many signals agree that chance alone keeps the budget.

    A signal of a target is falsely raised r times a week and lasts D hours, so at any time with p = r D / 168. Of S
    independent signals k are up together C(S, k) k r p^(k-1) times a week. The smallest k from 2 that keeps the
    budget over all targets is taken; if none does, signals that agree never page.
    """
    per_signal = detect.false_warnings_per_series_week * max(series, 1) / max(targets, 1) / SIGNALS
    p = min(per_signal * FALSE_WARNING_HOURS / WEEK_HOURS, 1.0)
    for signals in range(2, SIGNALS + 1):
        pages = MONTH_WEEKS * targets * comb(SIGNALS, signals) * signals * per_signal * p ** (signals - 1)
        if pages <= false_pages_per_month:
            return replace(policy, page_signals=signals)
    return replace(policy, page_signals=0)


def _metrics(probe: Probe) -> int:
    """Return how many numbers a check of a probe reads that are judged."""
    options = probe.options
    if isinstance(options, HostOptions):
        return HOST_METRICS + 2 * len(options.mounts)
    if isinstance(options, HttpOptions):
        return 2 if options.url.startswith("https:") else 1
    return 2 if probe.kind == "tls" else 1
