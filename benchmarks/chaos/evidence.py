"""What must hold afterwards. Each check returns a line for everything that is wrong."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from benchmarks.chaos.arrivals import Check
from benchmarks.chaos.faults import Done
from benchmarks.chaos.installations import Play
from benchmarks.chaos.recording import target_name
from producers.ticks import tick_offset_us
from streams.contract import JUDGING, derived_id
from tests.integration.judging import Judged, stored_changes, stored_steps
from tests.integration.local import Posted
from tests.integration.reading import Row

SHOWN: Final = 5
"""So many lines of one kind are told in full."""

TOLERANCE: Final = 1e-6
NOTICE_US: Final = 60_000_000
"""A producer that is started again has reported by then what it missed."""

SILENCE_US: Final = 60_000_000
"""After so long without a check a location is silent, at the intervals that are played."""

UNDER_WAY_US: Final = 2_000_000
"""A check that was run so shortly before a kill may not have reached the spool."""

SENDING_US: Final = 20_000_000
"""A request is repeated so long after it at most: by then the sender runs again and has read where it was."""

MUST_TELL_US: Final = 45_000_000
"""An incident that was open for so long is told, whatever was killed meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in the store and what the webhook got, after everything has come to rest.

    Attributes:
        checks, deviations, verdicts, incidents, alerts, summaries: Rows of the views.
        posted: Every request to the webhook.
        late: Checks that came too late to be judged.
    """

    checks: Sequence[Row]
    deviations: Sequence[Row]
    verdicts: Sequence[Row]
    incidents: Sequence[Row]
    alerts: Sequence[Row]
    summaries: Sequence[Row]
    posted: Sequence[Posted]
    late: Collection[Check]

    @property
    def in_time(self) -> list[Row]:
        """The checks that count."""
        return [row for row in self.checks if identity(row) not in self.late]


def identity(row: Row) -> Check:
    """Return what identifies a row of `checks`."""
    return row["target"], row["probe"], row["location"], row["scheduled_at"]


def completeness(found: Found, play: Play, is_excused: Callable[[str, int], bool]) -> list[str]:
    """Every tick of the recording is stored once for every target at every location, but for those that are excused."""
    ticks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in found.checks:
        if play.start_us <= row["scheduled_at"] < play.end_us:
            ticks[row["target"], row["location"]].append(row["scheduled_at"])
    wrong = []
    for number in range(play.recording.targets):
        target = f"main/{target_name(number)}"
        offset_us = tick_offset_us(target, "front", play.interval_us)
        first_us = play.start_us + (offset_us - play.start_us) % play.interval_us
        expected = list(range(first_us, play.end_us, play.interval_us))
        for location in play.recording.locations:
            stored = Counter(ticks[target, location])
            lacking = [tick for tick in expected if not stored[tick] and not is_excused(location, tick)]
            twice = [tick for tick, times in stored.items() if times > 1]
            foreign = sorted(stored.keys() - set(expected))
            if lacking or twice or foreign:
                wrong.append(f"{target} from {location}: lacks {lacking[:3]}, twice {twice[:3]}, foreign {foreign[:3]}")
    return wrong


def truth(found: Found, play: Play) -> list[str]:
    """Every stored check that was run since the beginning says what was recorded for its tick."""
    wrong = []
    for row in found.checks:
        if row["outcome"] == "missed" or row["scheduled_at"] < play.start_us:
            continue
        tick = (row["scheduled_at"] - play.start_us) // play.interval_us
        location = play.recording.locations.index(row["location"])
        seen = play.recording.at(int(row["target"].rpartition("/t")[2]), location, tick)
        if (row["outcome"] == "failure", row["duration_us"]) != seen:
            wrong.append(f"{identity(row)}: recorded {seen}, stored {row['outcome']} {row['duration_us']}")
    return wrong


def missed(found: Found, done: Sequence[Done]) -> list[str]:
    """A tick is missed where its producer was killed or stopped, and nowhere else; where it was dead none was run."""
    wrong = []
    by_location: dict[str, list[Done]] = defaultdict(list)
    for one in done:
        if one.fault.name.startswith("producer "):
            by_location[one.fault.name.partition(" ")[2]].append(one)
    for row in found.checks:
        tick_us, hits = row["scheduled_at"], by_location[row["location"]]
        if row["outcome"] == "missed":
            if not any(one.from_us - UNDER_WAY_US <= tick_us <= one.until_us + NOTICE_US for one in hits):
                wrong.append(f"{identity(row)} is missed ({row['reason']}), and nothing was done to its producer then")
        elif any(one.fault.how == "kill" and one.from_us < tick_us < one.until_us for one in hits):
            wrong.append(f"{identity(row)} was run by a producer that was dead")
    return wrong


def silences(found: Found, done: Sequence[Done]) -> list[str]:
    """A location is told to be silent while its producer was away for longer than SILENCE_US, and at no other time."""
    silent = (row for row in found.incidents if row["kind"] == "silence")
    told = [(location, row["began_at"]) for row in silent for location in row["locations"]]
    away = [one for one in done if one.fault.name.startswith("producer ")]

    def fits(one: Done, location: str, began_us: int) -> bool:
        return one.fault.name == f"producer {location}" and one.from_us - NOTICE_US <= began_us <= one.until_us

    wrong = [
        f"{one.fault.name} was away from {one.from_us} to {one.until_us}, and nobody said so"
        for one in away
        if one.until_us - one.from_us > SILENCE_US + NOTICE_US and not any(fits(one, *silence) for silence in told)
    ]
    long_away = [one for one in away if one.until_us - one.from_us > SILENCE_US - UNDER_WAY_US]
    wrong += [
        f"{location} is told to be silent from {began_us} on, and its producer was not away"
        for location, began_us in told
        if not any(fits(one, location, began_us) for one in long_away)
    ]
    return wrong


def summed_up(found: Found, play: Play) -> list[str]:
    """The summaries of all slots of the recording count each check that was in time, once."""
    counted: Counter[tuple[str, str]] = Counter()
    for row in found.summaries:
        if play.start_us <= row["slot_at"] < play.end_us:
            for location, reported, failed in zip(row["locations"], row["reported"], row["failed"], strict=True):
                counted[location, "run"] += reported
                counted[location, "failed"] += failed
    expected: Counter[tuple[str, str]] = Counter()
    for row in found.in_time:
        if row["outcome"] != "missed" and play.start_us <= row["scheduled_at"] < play.end_us:
            expected[row["location"], "run"] += 1
            expected[row["location"], "failed"] += row["outcome"] == "failure"
    return [
        f"{what} at {location}: {expected[location, what]} checks stored, {counted[location, what]} in summaries"
        for location, what in sorted(expected.keys() | counted.keys())
        if expected[location, what] != counted[location, what]
    ]


def verdicts(found: Found, judged: Judged) -> list[str]:
    """The stored changes of verdicts are those of the core over the stored checks."""
    return differing(judged.changes(), stored_changes(found.verdicts))


def incidents(found: Found, judged: Judged) -> list[str]:
    """The stored incidents are those of the core over the stored checks, but for what is about forewarn itself."""
    watched = [row for row in found.incidents if row["subject"] != JUDGING]
    return differing(judged.steps(), stored_steps(watched))


def deviations(found: Found, judged: Judged) -> list[str]:
    """The stored deviations are those of the core over the stored checks, with their scores."""
    stored = {row["id"]: row for row in found.deviations}
    expected = judged.deviations
    wrong = _one_sided(expected, stored)
    for key in expected.keys() & stored.keys():
        one, row = expected[key], stored[key]
        for name in ("score", "value", "baseline"):
            ours, theirs = getattr(one, name), row[name]
            same = ours == theirs or (None not in {ours, theirs} and math.isclose(ours, theirs, rel_tol=TOLERANCE))
            if not same:
                wrong.append(f"{one.target} {one.detector} at {one.tick_us}: {name} {ours!r}, stored {theirs!r}")
    return wrong


def differing(expected: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that only one side has, or that both have otherwise."""
    return _one_sided(expected, stored) + [
        f"{key}: expected {expected[key]}, stored {stored[key]}"
        for key in expected.keys() & stored.keys()
        if expected[key] != stored[key]
    ]


def _one_sided(expected: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    return [
        *(f"not stored: {expected[key]}" for key in expected.keys() - stored.keys()),
        *(f"stored without cause: {stored[key]}" for key in stored.keys() - expected.keys()),
    ]


def told(found: Found, away_us: Sequence[tuple[int, int]]) -> list[str]:
    """Each recorded alert reached the webhook, nothing else did, and what was open for long was told.

    What was over before a sender that had been away could read of it is recorded and told nobody, as the design says.

    Args:
        found: What was found.
        away_us: From when until when the sender did not read.
    """
    wrong = []
    recorded = {row["id"] for row in found.alerts if row["delivered"]}
    posted = set(chain.from_iterable(_records_of(one, found.alerts) for one in found.posted))
    wrong += [f"recorded as delivered, and never sent: {key}" for key in recorded - posted]
    wrong += [f"sent, and not recorded: {key}" for key in posted - recorded]
    initial = {row["incident_id"] for row in found.alerts if row["kind"] == "initial"}
    for row in found.incidents:
        over_us = row["resolved_at"]
        lasted = over_us is None or over_us - row["opened_at"] >= MUST_TELL_US
        unseen = over_us is not None and any(start <= over_us <= end for start, end in away_us)
        if lasted and not unseen and row["caused_by"] is None and row["incident_id"] not in initial:
            wrong.append(
                f"never told: {row['kind']} of {row['target'] or row['location']} opened at {row['opened_at']}"
            )
    return wrong


def _records_of(request: Posted, alerts: Sequence[Row]) -> list[str]:
    """Return the keys of the records that a request stands for: one, or of a digest those that its key is made of."""
    listed = {incident["incident_id"] for incident in request.message.get("incidents", ())}
    parts = sorted(
        row["id"]
        for row in alerts
        if row["delivered"] and row["incident_id"] in listed and row["text"] == request.message["text"]
    )
    return parts if parts and request.key == derived_id("digest", *parts) else [request.key]


def repeated(found: Found, ends_us: Iterable[int]) -> tuple[int, list[str]]:
    """Return how many requests repeated a key, and those that no end of the sender explains: one each at most.

    Args:
        found: What was found.
        ends_us: When the sender was killed: alerts itself, or everything on a forgetful broker.
    """
    by_key: dict[str, list[int]] = defaultdict(list)
    for one in found.posted:
        by_key[one.key].append(one.at_us)
    repeats = sorted((times[k], times[k + 1], key) for key, times in by_key.items() for k in range(len(times) - 1))
    left = sorted(ends_us)
    wrong = []
    for sent_us, again_us, key in repeats:
        fitting = [end_us for end_us in left if sent_us <= end_us <= again_us and end_us - sent_us <= SENDING_US]
        if fitting:
            left.remove(fitting[0])
        else:
            wrong.append(f"{key} was sent at {sent_us} and again at {again_us}, and no kill of the sender explains it")
    return len(repeats), wrong
