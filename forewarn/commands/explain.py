"""`forewarn explain`: why a target was or was not flagged at a time."""

import difflib
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.text import Text

from analytics.history import StoredChecks
from analytics.session import Session
from forewarn.errors import CommandError, ExitCode, UsageError
from forewarn.explain import chart as explain_chart
from forewarn.explain import words as explain_words
from forewarn.explain.explain import Key, SeriesStory, Story, tell
from forewarn.explain.stored import Stored, StoredDeviation, known_targets, stored_around, stored_span
from forewarn.output import console, print_line, table
from forewarn.places import load_if_there, now_us, open_store
from forewarn.replay.drive import Policies
from streams.core.alerting.text import quantity
from streams.core.words import instant
from streams.policy import DAY_US

HOUR_US: Final = 3600 * 10**6
MOST_CHECKS: Final = 400_000
"""More than so many are not replayed: it would take minutes. The oldest are left out, and that is said."""

MOST_CHARTS: Final = 4
MOST_WIDTH: Final = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """What is asked for.

    Attributes:
        at: A time as ISO 8601, or `now`.
        hours: So much is shown before it, and a sixth of that after it.
        days: So much is replayed before that, for the baselines.
    """

    at: str
    probe: str | None
    location: str | None
    metric: str | None
    hours: float
    days: float


def explain(target: str, config_file: Path, data_dir: Path, options: ExplainOptions) -> None:
    """Print the explanation.

    Raises:
        UsageError: The time is none or lies ahead, the target or a filter names nothing that is stored.
        CommandError: Nothing is stored around that time.
        ForewarnError: The store is away, or refuses us.
    """
    now = now_us()
    at_us = parse_time(options.at, now)
    from_us = at_us - int(options.hours * HOUR_US)
    until_us = min(at_us + int(options.hours * HOUR_US / 6), now)
    policies = _policies(config_file)
    with open_store(config_file, data_dir) as settings, closing(Session(settings)) as session:
        known = known_target(target, known_targets(session))
        learn_us = _learned_from(session, known, from_us, until_us, int(options.days * DAY_US))
        pieces = StoredChecks(session).of_target(known, from_us=learn_us, until_us=until_us)
        story = tell(known, pieces, _of(policies, known), at_us=at_us, from_us=from_us, until_us=until_us)
        _refuse_empty(session, story)
        stored = stored_around(session, known, at_us=at_us, from_us=from_us, until_us=until_us)
    _show(story, stored, _chosen(story, options), filtered=_is_filtered(options))


def parse_time(text: str, now: int) -> int:
    """Return a time in microseconds UTC: ISO 8601, UTC where no offset is written, or `now`.

    Raises:
        UsageError: It is none, or lies ahead.
    """
    if text == "now":
        return now
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        expected = "a time such as 2026-11-22T10:00:05 (UTC), 2026-11-22T11:00:05+01:00, or now"
        raise UsageError(f"--at: expected {expected}, got {text!r}") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    at_us = round(when.timestamp() * 1e6)
    if at_us > now:
        raise UsageError(f"--at: {instant(at_us)} lies ahead, expected a time that has passed")
    return at_us


def known_target(name: str, known: list[str]) -> str:
    """Return the id of a target by its id or its name.

    Raises:
        UsageError: No checks of such a target are stored, or of several.
    """
    if name in known:
        return name
    found = [target for target in known if target.partition("/")[2] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"the name {name} is that of several targets: {', '.join(found)}")
    if not known:
        raise UsageError(f"no checks of {name} are stored, nor of any other target")
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
    raise UsageError(f"no checks of {name} are stored; stored are those of {', '.join(close)}, ...")


def _policies(config_file: Path) -> Policies:
    config = load_if_there(config_file, parts=())
    if config is None:
        return Policies()
    return Policies(detect=config.detect_policy, incidents=config.incident_policy, expectations=config.expectations())


def _of(policies: Policies, target: str) -> Policies:
    """Return the policies with what is expected of one target only: the others' checks are not replayed."""
    expected = policies.expectations
    probes = {key: value for key, value in expected.probes.items() if key[0] == target}
    return replace(policies, expectations=replace(expected, probes=probes))


def _learned_from(session: Session, target: str, from_us: int, until_us: int, learn_us: int) -> int:
    """Return from when checks are replayed: as far back as was asked for, unless these are too many."""
    checks = StoredChecks(session)
    while learn_us > HOUR_US:
        if checks.count_of_target(target, from_us=from_us - learn_us, until_us=until_us) <= MOST_CHECKS:
            break
        learn_us //= 2
    return from_us - learn_us


def _refuse_empty(session: Session, story: Story) -> None:
    if any(series.seen or series.failures for series in story.series.values()) or story.verdict is not None:
        return
    span = stored_span(session, story.target)
    text = f"no checks of {story.target} are stored from {instant(story.from_us)} to {instant(story.until_us)}"
    if span is not None:
        text += f"; there are some from {instant(span[0])} to {instant(span[1])}"
    raise CommandError(text, ExitCode.NEGATIVE)


def _is_filtered(options: ExplainOptions) -> bool:
    return any(one is not None for one in (options.probe, options.location, options.metric))


def _chosen(story: Story, options: ExplainOptions) -> dict[Key, SeriesStory]:
    """Return the series that the filters leave.

    Raises:
        UsageError: None is left.
    """
    left = {
        key: series
        for key, series in story.series.items()
        if (options.probe is None or key[0] == options.probe)
        and (options.location is None or key[1] == options.location)
        and (options.metric is None or key[2] == options.metric)
    }
    if not left:
        known = "; ".join(sorted(explain_words.name_of(key) for key in story.series))
        raise UsageError(f"{story.target} has no such series, expected one of: {known}")
    return dict(
        sorted(left.items(), key=lambda item: (item[0][0], item[0][2] != "latency", item[0][2], item[0][1] or ""))
    )


def _show(story: Story, stored: Stored, chosen: dict[Key, SeriesStory], *, filtered: bool) -> None:
    healthy = story.verdict is not None and story.verdict.verdict == "healthy"
    print_line(Text(explain_words.headline(story), "bold green" if healthy else "bold yellow"))
    for said in explain_words.published(story, stored):
        print_line(said)
    since = instant(story.since_us if story.since_us is not None else story.from_us)
    print_line(Text(f"Replayed {story.checks:,} stored checks since {since}.", "dim"))
    width = min(max(console().width - explain_chart.LEFT - 2, 20), MOST_WIDTH)
    columns = explain_chart.Columns(from_us=story.from_us, until_us=story.until_us, width=width)
    drawn = _drawn(chosen, filtered=filtered)
    for key, series in chosen.items():
        print_line("")
        print_line(
            Text.assemble((explain_words.name_of(key), "bold"), ": ", explain_words.sentence(series.at(story.at_us)))
        )
        if key in drawn:
            _draw(series, key[2], columns)
    print_line("")
    for line in (explain_chart.verdicts(story, columns), *explain_chart.axis(story.at_us, columns)):
        print_line(line)
    print_line(
        Text("• measured  · highest  ─ normal  ┄ limit  × failed  h healthy  d degraded  F failing  u unknown", "dim")
    )
    _show_deviations(stored.deviations)


def _drawn(chosen: dict[Key, SeriesStory], *, filtered: bool) -> set[Key]:
    """Return the series that are drawn: those that were flagged, else those that came nearest to it."""

    def telling(key: Key) -> tuple[bool, bool, float]:
        views = [view for _, view in chosen[key].views]
        parts = [view.score / view.limit for view in views if view.score is not None and view.limit]
        return any(view.flagged for view in views), key[2] == "latency", max(parts, default=0.0)

    drawable = [key for key in chosen if chosen[key].seen or chosen[key].failures]
    most = len(drawable) if filtered else MOST_CHARTS
    return set(sorted(drawable, key=telling, reverse=True)[:most])


def _draw(series: SeriesStory, metric: str, columns: explain_chart.Columns) -> None:
    lines = [*explain_chart.chart(series, metric, columns)]
    lines += [line for line in (explain_chart.failures(series, columns), explain_chart.scores(series, columns)) if line]
    for line in lines:
        print_line(line)


def _show_deviations(deviations: tuple[StoredDeviation, ...]) -> None:
    print_line("")
    if not deviations:
        print_line("No deviation was published in this time.")
        return
    shown = table(
        [
            ("published", False),
            ("series", False),
            ("detector", False),
            ("", False),
            ("value", True),
            ("normally", True),
            ("score", True),
        ]
    )
    for one in deviations:
        normal = "–" if one.baseline is None else quantity(one.metric, one.baseline)
        shown.add_row(
            instant(one.tick_us),
            explain_words.name_of((one.probe, one.location or None, one.metric)),
            one.detector + (f" ({one.phase})" if one.phase else ""),
            "leaves its norm" if one.active else "is back",
            quantity(one.metric, one.value),
            normal,
            f"{one.score:.1f}",
        )
    console().print(shown)
