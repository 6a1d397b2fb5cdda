"""Why a target and each of its series was or was not flagged, in sentences."""

from forewarn.explain.explain import Key, Story
from forewarn.explain.stored import Stored
from streams.core.alerting.text import quantity
from streams.core.series import SeriesView
from streams.core.words import instant, span


def headline(story: Story) -> str:
    """Return what the target was at the time, and why."""
    when = instant(story.at_us)
    verdict = story.verdict
    if verdict is None:
        return f"{story.target} at {when}: nothing was known of it yet"
    reasons = "; ".join(reason.text.rstrip(".") for reason in verdict.reasons if reason.severity != "info")
    if verdict.verdict == "healthy":
        return f"{story.target} at {when}: healthy, not flagged"
    return f"{story.target} at {when}: {verdict.verdict} since {instant(verdict.since_us)}: {reasons or 'no reason'}"


def published(story: Story, stored: Stored) -> list[str]:
    """Return what was really published, and whether the replay says the same."""
    lines = []
    if stored.verdict is None:
        lines.append("Published then: no verdict is stored at or before this time.")
    else:
        reasons = "; ".join(stored.verdict.reasons)
        said = f"{stored.verdict.verdict} since {instant(stored.verdict.since_us)}"
        lines.append(f"Published then: {said}" + (f": {reasons}" if reasons else "") + ".")
        replayed = story.verdict.verdict if story.verdict is not None else "unknown"
        if replayed != stored.verdict.verdict:
            lines.append(
                f"The replay says {replayed}: it knows only the checks that are stored since "
                f"{instant(story.since_us or story.from_us)}, and the policy that the config has now."
            )
    for incident in stored.incidents:
        ended = f"resolved {instant(incident.resolved_at_us)}" if incident.resolved_at_us is not None else "open"
        pages = ", paged" if incident.page else ", paged nobody"
        kind = incident.kind.replace("_", " ")
        lines.append(f"Incident {incident.incident_id}: {kind} from {instant(incident.opened_at_us)}, {ended}{pages}.")
        lines.append(f"  {incident.cause}")
    if not stored.incidents:
        lines.append("No incident was open around this time.")
    return lines


def name_of(key: Key) -> str:
    """Return `latency of http at ams`."""
    probe, location, metric = key
    return f"{metric} of {probe}" + (f" at {location}" if location is not None else "")


def sentence(view: SeriesView | None) -> str:
    """Return why one series was or was not flagged."""
    if view is None:
        return "not judged: nothing of it was known by then"
    if view.value is None:
        return f"not judged yet: its baseline knows {view.learned} of the {view.needed} checks that it needs"
    numbers = quantity(view.metric, view.value)
    if view.normal is not None:
        numbers += f", normally {quantity(view.metric, view.normal)}"
    if view.detector == "forecast":
        numbers += (
            f", at least {span(view.time_left_us)} left" if view.time_left_us is not None else ", no end in sight"
        )
    if view.flagged:
        since = f" since {instant(view.since_us)}" if view.since_us is not None else ""
        return f"flagged by {view.detector}{since}: {numbers}{_band(view)}{_score(view, 'is beyond')}"
    if view.score is not None and view.limit is not None and view.score >= view.limit:
        return (
            f"not flagged: {numbers}{_band(view)}; its score of {view.score:.1f} is beyond its limit of "
            f"{view.limit:.1f}, but not yet for long enough, or too little for a person to care"
        )
    return f"not flagged: {numbers}{_band(view)}{_score(view, 'is under')}"


def _band(view: SeriesView) -> str:
    if view.upper is None and view.lower is None:
        return ""
    if view.lower is None and view.upper is not None:
        return f", limit {quantity(view.metric, view.upper)}"
    if view.upper is None and view.lower is not None:
        return f", limit {quantity(view.metric, view.lower)}"
    assert view.lower is not None
    assert view.upper is not None
    return f", limits {quantity(view.metric, view.lower)} and {quantity(view.metric, view.upper)}"


def _score(view: SeriesView, how: str) -> str:
    if view.score is None:
        return ""
    if view.limit is None:
        return f"; score {view.score:.1f}"
    if view.flagged and view.score < view.limit:
        return (
            f"; its score of {view.score:.1f} is back under its limit of {view.limit:.1f}, but not yet for long enough"
        )
    return f"; its score of {view.score:.1f} {how} its limit of {view.limit:.1f}"
