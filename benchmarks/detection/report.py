"""Scores as a table for people and as one object for programs, with the aims beside the figures."""

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.detection.noise import SECOND_US
from benchmarks.detection.scoring import FaultScore, Score, middle, wilson
from benchmarks.detection.warnable import RULE

AIM_WARNED: Final = 0.95
AIM_LEAD: Final = 0.5
AIM_WARNINGS: Final = 0.2
AIM_PAGES: Final = 0.01
PLAIN: Final = "three failures"


def table(scores: Mapping[str, Score]) -> str:
    """Return the whole report as text."""
    lines = [RULE, ""]
    for name, score in scores.items():
        lines += [f"== {name}", *_faults(score), "", *_traps(score), "", *_false(score), ""]
    return "\n".join([*lines, *_together(scores), *_crashes(scores)])


def summary(scores: Mapping[str, Score]) -> dict[str, Any]:
    """Return the figures by system."""
    plain = scores.get(PLAIN)
    return {name: _figures(score) | slower(score, plain) for name, score in scores.items()}


def _faults(score: Score) -> list[str]:
    head = (
        f"{'fault':12} {'faults':>6} {'warnable':>8} {'warned':>7} {'share':>6} {'95 %':>10} {'chance':>6} "
        f"{'lead':>8} {'of onset':>8} {'visible':>7} {'outage told after':>17} {'unseen':>6}  first said by"
    )
    lines = [head]
    for name, one in [*sorted(score.faults.items()), ("all", all_faults(score))]:
        low, high = wilson(one.warned, one.warnable)
        why = ", ".join(f"{what} {count}" for what, count in one.why.most_common(3))
        shares = (
            f"{one.warned / one.warnable:6.0%} {f'{low:.0%}-{high:.0%}':>10} {one.chance / one.warnable:6.1%}"
            if one.warnable
            else f"{'-':>6} {'-':>10} {'-':>6}"
        )
        lines.append(
            f"{name:12} {one.faults:6} {one.warnable:8} {one.warned:7} {shares} {span(middle(one.lead_us)):>8} "
            f"{share(middle(one.lead_share)):>8} {share(middle(one.visible_share)):>7} "
            f"{span(middle(one.delay_us)):>17} {one.unseen:6}  {why}"
        )
    lines.append(
        f"aims: warned {AIM_WARNED:.0%}; median lead {AIM_LEAD:.0%} of the time from the onset "
        "(visible: the same share for the rule above, which knows the twin)"
    )
    return lines


def _traps(score: Score) -> list[str]:
    lines = [f"{'trap':20} {'events':>6} {'warnings':>8} {'an event':>8} {'over one':>8} {'pages':>6}"]
    for name, one in sorted(score.traps.items()):
        each = one.warnings / one.events
        lines.append(f"{name:20} {one.events:6} {one.warnings:8} {each:8.2f} {one.over:8} {one.pages:6}")
    lines.append("aims: no page; at most one warning an event (over one: 0)")
    return lines


def _false(score: Score) -> list[str]:
    months = max(score.clean_months, 1e-9)
    why = ", ".join(f"{what} {count}" for what, count in score.false_why.most_common(6))
    warnings, pages = score.false_warnings, score.false_pages
    return [
        f"outside faults and own traps, over {score.clean_months:.1f} of {score.months:.1f} target-months:",
        f"  false warnings {warnings / months:8.3f} a target-month (aim {AIM_WARNINGS}), {warnings} in all: {why}",
        f"  false pages    {pages / months:8.3f} a target-month (aim {AIM_PAGES}), {pages} in all",
    ]


def _together(scores: Mapping[str, Score]) -> list[str]:
    head = (
        f"{'system':18} {'warned':>7} {'95 %':>10} {'chance':>7} {'lead':>8} {'of onset':>8} "
        f"{'false w':>8} {'false p':>8} {'trap w':>7} {'trap p':>7} {'crash after':>11}"
    )
    lines = [head]
    for name, score in scores.items():
        one = _figures(score)
        low, high = one["warned_interval"]
        lines.append(
            f"{name:18} {share(one['warned']):>7} {f'{low:.0%}-{high:.0%}':>10} {share(one['chance']):>7} "
            f"{span(one['median_lead_s'], 1):>8} {share(one['median_lead_share']):>8} "
            f"{one['false_warnings_per_target_month']:8.3f} {one['false_pages_per_target_month']:8.3f} "
            f"{one['warnings_per_trap_event']:7.2f} {one['trap_pages']:7} {span(one['crash_delay_s'], 1):>11}"
        )
    return lines


def _crashes(scores: Mapping[str, Score]) -> list[str]:
    plain = scores.get(PLAIN)
    lines = []
    for name, score in scores.items():
        if plain is not None and name != PLAIN and score.crashes and any(one.delay_us for one in score.faults.values()):
            later = _later(score, plain)
            which = "".join(f"; {scenario} {target}" for scenario, target in later)
            lines.append(
                f"{name}: told {len(later)} of {len(plain.crashes)} crashes later than {PLAIN} (aim: 0){which}"
            )
    return lines


def slower(score: Score, plain: Score | None) -> dict[str, Any]:
    """Return how many crashes were told later than by three failures in a row."""
    return {} if plain is None else {"crashes": len(plain.crashes), "crashes_slower": len(_later(score, plain))}


def _later(score: Score, plain: Score) -> list[tuple[str, str]]:
    """Return the scenario and target of those."""
    return [key for key, delay in plain.crashes.items() if score.crashes[key] > delay]


def _figures(score: Score) -> dict[str, Any]:
    whole = all_faults(score)
    months = max(score.clean_months, 1e-9)
    events = sum(one.events for one in score.traps.values())
    said = sum(one.warnings for one in score.traps.values())
    crash_us = middle(score.faults["crash"].delay_us) if "crash" in score.faults else None
    lead_us = middle(whole.lead_us)
    return {
        "target_months": round(score.months, 2),
        "clean_target_months": round(score.clean_months, 2),
        "warnable": whole.warnable,
        "warned": round(whole.warned / whole.warnable, 4) if whole.warnable else None,
        "warned_interval": [round(bound, 4) for bound in wilson(whole.warned, whole.warnable)],
        "chance": round(whole.chance / whole.warnable, 4) if whole.warnable else None,
        "median_lead_s": None if lead_us is None else lead_us / SECOND_US,
        "median_lead_share": middle(whole.lead_share),
        "median_visible_share": middle(whole.visible_share),
        "false_warnings_per_target_month": round(score.false_warnings / months, 4),
        "false_pages_per_target_month": round(score.false_pages / months, 4),
        "trap_events": events,
        "warnings_per_trap_event": round(said / events, 4) if events else 0.0,
        "trap_events_over_one": sum(one.over for one in score.traps.values()),
        "trap_pages": sum(one.pages for one in score.traps.values()),
        "crash_delay_s": None if crash_us is None else crash_us / SECOND_US,
        "by_fault": {
            name: {"faults": one.faults, "warnable": one.warnable, "warned": one.warned}
            for name, one in sorted(score.faults.items())
        },
        "by_trap": {
            name: {"events": one.events, "warnings": one.warnings, "over": one.over, "pages": one.pages}
            for name, one in sorted(score.traps.items())
        },
    }


def all_faults(score: Score) -> FaultScore:
    """Return the faults of all kinds as one."""
    whole = FaultScore()
    for one in score.faults.values():
        whole.take(one)
    return whole


def share(value: float | None) -> str:
    """Return a share in percent; a dash where there is none."""
    return "-" if value is None else f"{value:.0%}"


def span(value: float | None, unit: int = SECOND_US) -> str:
    """Return a duration, given in such parts of a second, as a person says it; a dash where there is none."""
    if value is None:
        return "-"
    seconds = value / unit
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
