"""The cause of an incident as one line: what, where, since when, how far from normal, in which phase, time left.

The numbers come from the reasons' own texts, which detection writes; nothing here says them a second time.
"""

from collections import Counter
from collections.abc import Sequence

from streams.contract import Reason
from streams.core.incidents.company import Company
from streams.core.words import count, instant, names, span


def warning_cause(reasons: Sequence[Reason], since_us: int) -> str:
    """Return the cause of an early warning, most telling reason first.

    Args:
        reasons: Of the incident's subject.
        since_us: The first abnormal tick.
    """
    parts = [_part(reason) for reason in reasons]
    line = "; ".join(dict.fromkeys(part for part in parts if part))
    return line if " since " in line else f"{line}, since {instant(since_us)}"


def outage_cause(reasons: Sequence[Reason], locations: Sequence[str], since_us: int) -> str:
    """Return the cause of an outage: `failing: http_status 502 at ams and fra, since …`."""
    texts = dict.fromkeys(_clean(reason) for reason in reasons if reason.kind == "failing")
    line = "; ".join(text for text in texts if text) or "failing"
    if locations and " at " not in line:
        line += f" at {names(locations)}"
    return line if " since " in line else f"{line}, since {instant(since_us)}"


def company_cause(line: str, target: str, company: Company, *, outage: bool) -> str:
    """Return the cause of an incident with those that are ill together with its target.

    Args:
        line: What is wrong with the target itself.
        target: Its name.
        company: Who is ill with it, or explains it.
        outage: It fails; else it deviates.
    """
    if company.caused_by is not None:
        return f"caused by {company.caused_by}: {line}"
    verb = "fail" if outage else "deviate"
    if company.siblings:
        whole = (target, *company.siblings)
        blame = "what they share, not one of them"
        if company.is_hoster or company.is_location:
            blame = "the hoster, not the sites" if company.is_hoster else "the location, not the sites"
        line = f"{len(whole)} sites {company.shared} {verb} together ({blame}): {names(whole)}; {line}"
    if company.dependents:
        line += f"; with it {verb} {names(company.dependents)}, which depend on it"
    return line


def trouble_cause(
    location: str,
    *,
    targets: Sequence[str],
    addresses: int,
    failures: Counter[str],
    since_us: int,
    anchor: bool,
    blind: bool,
    loses_some: bool = False,
) -> str:
    """Return the cause of a location's trouble.

    Args:
        location: Its name.
        targets: The targets that failed together from there.
        addresses: How many distinct addresses they have.
        failures: Failure reasons of them, counted.
        since_us: The first failing check.
        anchor: Its own anchor check fails.
        blind: No other location works, so nobody sees anything.
        loses_some: They fail now and then, and not for good.
    """
    signs = ["its anchor check fails"] if anchor else []
    if targets:
        kind = f" ({failures.most_common(1)[0][0]})" if failures else ""
        some = f": {names(targets)}"
        how = "fail now and then" if loses_some else "fail together"
        signs.append(f"{count(len(targets), 'target')} on {count(addresses, 'address', 'addresses')} {how}{kind}{some}")
    line = f"location {location} is in trouble: {'; '.join(signs)}, since {instant(since_us)}"
    return f"{line}; no other location works, so nobody sees anything" if blind else line


def silence_cause(locations: Sequence[str], *, targets: Sequence[str], unseen: int, since_us: int) -> str:
    """Return the cause of a silence.

    Args:
        locations: Those that are silent.
        targets: Those that they should report and do not.
        unseen: How many of them no other location reports either.
        since_us: The first tick that is missing.
    """
    who = f"{count(len(targets), 'target')} ({names(targets)})"
    where = f"location{'s' if len(locations) > 1 else ''} {names(locations)}"
    line = f"no checks from {where} for {who} since {instant(since_us)}"
    if unseen:
        line += f"; {count(unseen, 'target')} {'is' if unseen == 1 else 'are'} seen by nobody"
    return line


def _part(reason: Reason) -> str:
    text = _clean(reason) or _from_fields(reason)
    if reason.phase is not None and reason.phase not in text:
        text += f", in the {reason.phase} phase"
    if reason.locations and " at " not in text:
        text += f" at {names(reason.locations)}"
    if reason.time_left_us is not None and "left" not in text:
        text += f", {span(reason.time_left_us)} left"
    return text


def _clean(reason: Reason) -> str:
    """The text as a part of a line: no full stop, no line break."""
    return " ".join(reason.text.split()).rstrip(".")


def _from_fields(reason: Reason) -> str:
    text = reason.metric or reason.kind
    if reason.value is not None:
        text += f" {reason.value:g}"
    if reason.baseline is not None:
        text += f", normally {reason.baseline:g}"
    return text
