"""The section of the documentation about faults, written from scores: no figure in it is typed by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.detection.report import (
    AIM_LEAD,
    AIM_PAGES,
    AIM_WARNED,
    AIM_WARNINGS,
    PLAIN,
    all_faults,
    share,
    slower,
    span,
    summary,
)
from benchmarks.detection.scoring import FaultScore, Score, middle, wilson

BEGIN: Final = "<!-- figures of faults: begin -->"
END: Final = "<!-- figures of faults: end -->"


def write(scores: Mapping[str, Score], path: Path, command: str) -> None:
    """Put the figures between the marks BEGIN and END of a page.

    Args:
        scores: By system; the first is the one that the page is about.
        path: The page.
        command: That gave them.

    Raises:
        ValueError: The page has no such marks.
    """
    text = path.read_text()
    head, begin, rest = text.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: it has no lines {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n\n{figures(scores, command)}\n\n{END}{tail}")


def figures(scores: Mapping[str, Score], command: str) -> str:
    """Return all tables as Markdown."""
    own = next(iter(scores.values()))
    parts = [
        f"`{command}`: {own.months:.0f} target-months, {own.clean_months:.0f} outside faults and targets' own traps.",
        _aims(scores),
        "**Faults.** " + _said_of_faults(scores),
        _faults(scores),
        (
            "**Traps.** Warnings an event, with the pages in brackets; of "
            f"{next(iter(scores))} **over one**: events with more than one warning, **by others**: warnings an event "
            "that the rate of false ones outside traps puts into these times anyway (some traps last all the time). "
            "What is said without the traps of the whole installation too is not counted to them."
        ),
        _traps(scores),
    ]
    return "\n\n".join(parts)


def _said_of_faults(scores: Mapping[str, Score]) -> str:
    return (
        "Warned of before the outage, of those that are warnable, with the interval (95 %, Wilson); **chance**: what "
        "as many alerts at random times would have warned of; **lead**: median time from the warning to the outage, "
        "and as a share of the time from the onset; **visible**: the same share for the rule that says what is "
        f"warnable. The columns after it: the other systems on the same checks ({', '.join(list(scores)[1:])})."
    )


def _aims(scores: Mapping[str, Score]) -> str:
    said = summary(scores)
    aims = {
        "warnable outages warned of in time": f"at least {AIM_WARNED:.0%}",
        "median lead, share of the time from the onset": f"at least {AIM_LEAD:.0%}",
        "false warnings a target-month, outside traps": f"at most {AIM_WARNINGS}",
        "false pages a target-month, outside traps": f"at most {AIM_PAGES}",
        "warnings an event of a trap": "at most 1",
        "pages in traps": "none",
        "crashes told later than by three failures in a row": "none",
    }
    reached = [
        (
            _interval(all_faults(score)),
            share(said[name]["median_lead_share"]),
            f"{said[name]['false_warnings_per_target_month']:.3f}",
            f"{said[name]['false_pages_per_target_month']:.3f}",
            f"{said[name]['warnings_per_trap_event']:.2f}",
            str(said[name]["trap_pages"]),
            _later(scores, name),
        )
        for name, score in scores.items()
    ]
    lines = [_row("", "aim", *scores), _rule(len(scores) + 2)]
    lines += [_row(*aim, *figures) for aim, figures in zip(aims.items(), zip(*reached, strict=True), strict=True)]
    return "\n".join(lines)


def _faults(scores: Mapping[str, Score]) -> str:
    (_name, own), *others = scores.items()
    names = [name for name, _score in others]
    lines = [
        _row("fault", "injected", "warnable", "warned", "chance", "lead", "of onset", "visible", *names),
        _rule(8 + len(names)),
    ]
    for kind in [*sorted(own.faults), None]:
        one = all_faults(own) if kind is None else own.faults[kind]
        theirs = [all_faults(score) if kind is None else score.faults[kind] for _name, score in others]
        lines.append(
            _row(
                "all" if kind is None else kind,
                str(one.faults),
                str(one.warnable) if one.warnable else "cannot be warned of",
                _interval(one),
                share(one.chance / one.warnable if one.warnable else None),
                span(middle(one.lead_us)),
                share(middle(one.lead_share)),
                share(middle(one.visible_share)),
                *(share(each.warned / each.warnable if each.warnable else None) for each in theirs),
            )
        )
    return "\n".join(lines)


def _traps(scores: Mapping[str, Score]) -> str:
    own = next(iter(scores.values()))
    lines = [_row("trap", "events", *scores, "over one", "by others"), _rule(4 + len(scores))]
    rate = own.false_warnings / max(own.clean_months, 1e-9)
    for kind, trap in sorted(own.traps.items()):
        cells = [
            f"{score.traps[kind].warnings / max(trap.events, 1):.2f} ({score.traps[kind].pages})"
            for score in scores.values()
        ]
        others = f"{rate * trap.months / max(trap.events, 1):.2f}"
        lines.append(_row(kind.replace("_", " "), str(trap.events), *cells, str(trap.over), others))
    return "\n".join(lines)


def _later(scores: Mapping[str, Score], name: str) -> str:
    told = slower(scores[name], scores.get(PLAIN))
    crash = scores[name].faults.get("crash")
    if not told or crash is None:
        return "-"
    after_us = middle(crash.delay_us)
    after = f", median {span(after_us)}" if after_us is not None else ""
    return f"{told['crashes_slower']} of {told['crashes']}{after}"


def _interval(one: FaultScore) -> str:
    if not one.warnable:
        return "-"
    low, high = wilson(one.warned, one.warnable)
    return f"{one.warned / one.warnable:.0%} ({low:.0%} to {high:.0%})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
