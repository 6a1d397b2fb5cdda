"""What a verdict says of each subject of its target, given the locations that are in trouble."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from streams.contract import SERVICE, Reason, Verdict
from streams.core.incident import PARTIAL_FAILURE, counts_failures
from streams.core.landscape import SILENCE
from streams.core.signs import Finding, Sign

MISSED: Final = "missed"
UNSEEN: Final = frozenset({SILENCE, MISSED})
"""Kinds of reasons that say that nothing is known: they make nothing abnormal, and nothing well."""


def depends_on_locations(verdict: Verdict) -> bool:
    """Say whether a location's trouble could explain this verdict, so that it must wait until that is known.

    A slow answer is the target's own and is told at once; a failed check may be the location's.
    """
    if verdict.verdict in ("healthy", "unknown"):
        return False
    return bool(verdict.verdict == "failing" or verdict.failed or any(map(counts_failures, verdict.reasons)))


def service_finding(verdict: Verdict, held_from: Mapping[str, int]) -> tuple[Finding, bool]:
    """Return what a verdict says of the service, and whether a location's trouble changed that.

    Args:
        verdict: Of one target.
        held_from: The locations in trouble; a failure that began earlier is not theirs.
    """
    if verdict.verdict == "unknown":
        return _finding(verdict, Sign.UNKNOWN, ()), False
    reasons = [reason for reason in verdict.reasons if reason.subject == SERVICE and _is_abnormal(reason)]
    if verdict.verdict == "failing":
        if _all_held(verdict.failed, held_from, verdict.since_us):
            return _finding(verdict, Sign.UNKNOWN, ()), True
        return _finding(verdict, Sign.FAILING, reasons), False
    kept = [reason for reason in reasons if not _all_held(_places(reason, verdict), held_from, None)]
    if kept:
        partial = all(reason.kind == PARTIAL_FAILURE for reason in kept)
        return _finding(verdict, Sign.PARTIAL if partial else Sign.DEGRADED, kept), len(kept) < len(reasons)
    if not reasons:
        # Of two probes one may be unseen while the other's forecast makes the target degraded.
        unseen = any(map(_says_unseen, verdict.reasons))
        return _finding(verdict, Sign.UNKNOWN if unseen else Sign.HEALTHY, ()), False
    # What is wrong is the location's. Where another one sees the target well, it is well.
    elsewhere = set(verdict.reported) - set(verdict.failed) - held_from.keys()
    return _finding(verdict, Sign.HEALTHY if elsewhere else Sign.UNKNOWN, ()), True


def forecast_findings(verdict: Verdict, open_subjects: Iterable[str]) -> dict[str, Finding]:
    """Return what a verdict says of each forecast: those with a reason, and those that had one before.

    While the target is failing or unknown a forecast without a reason is not well: its metric does not come.
    """
    by_subject: dict[str, list[Reason]] = {subject: [] for subject in open_subjects}
    for reason in verdict.reasons:
        if reason.subject != SERVICE and _is_abnormal(reason):
            by_subject.setdefault(reason.subject, []).append(reason)
    absent = Sign.HEALTHY if verdict.verdict in ("healthy", "degraded") else Sign.UNKNOWN
    return {
        subject: _finding(verdict, Sign.DEGRADED if reasons else absent, reasons)
        for subject, reasons in sorted(by_subject.items())
    }


def _is_abnormal(reason: Reason) -> bool:
    return reason.severity != "info" and reason.kind not in UNSEEN


def _says_unseen(reason: Reason) -> bool:
    # The silence of some locations is for information: the others see the target.
    return reason.kind == MISSED or (reason.kind == SILENCE and reason.severity != "info")


def _finding(verdict: Verdict, sign: Sign, reasons: Collection[Reason]) -> Finding:
    seen_at = {location for reason in reasons for location in reason.locations}
    if sign is Sign.FAILING:
        since_us = verdict.since_us
        seen_at = set(verdict.failed) or seen_at
    else:
        since_us = min((reason.since_us for reason in reasons), default=verdict.tick_us)
    return Finding(
        tick_us=verdict.tick_us,
        sign=sign,
        since_us=since_us,
        interval_us=verdict.interval_us,
        reasons=tuple(reasons),
        locations=tuple(sorted(seen_at)),
    )


def _places(reason: Reason, verdict: Verdict) -> Collection[str]:
    if reason.locations:
        return reason.locations
    return verdict.failed if counts_failures(reason) else ()


def _all_held(locations: Collection[str], held_from: Mapping[str, int], since_us: int | None) -> bool:
    return bool(locations) and all(
        location in held_from and (since_us is None or since_us >= held_from[location]) for location in locations
    )
