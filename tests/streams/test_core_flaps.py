"""Flap memory: what is a cluster of short outages, how long it is remembered, and what is none."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.failures.chance import poisson_tail
from streams.core.failures.flaps import FLAPPING
from streams.policy import DAY_US, DetectPolicy
from tests.streams.timelines import SECOND, START, Published, columns, detector, expectations, rows_of

MINUTE = 60 * SECOND
POLICY = DetectPolicy(slot_us=DAY_US, warm_up_checks=100_000)


def play(line: str, locations: tuple[str, ...] = ("ams", "fra", "nyc"), *, cut: int | None = None) -> Published:
    """Play ticks of a minute that all locations see alike; `cut`: restored from a snapshot before that tick."""
    core, found = detector(expectations(*locations, interval_us=MINUTE), POLICY), Published()
    for tick, rows in enumerate(rows_of(dict.fromkeys(locations, line), interval_us=MINUTE)):
        if tick == cut:
            payload = core.snapshot()
            core = detector(expectations(*locations, interval_us=MINUTE), POLICY)
            core.restore(payload)
        found.add(core.apply(columns(rows)))
    return found


def flags(found: Published) -> list[tuple[bool, int]]:
    """Return when it began and ceased to flap, in ticks."""
    return [(d.active, (d.tick_us - START) // MINUTE) for d in found.deviations if d.detector == FLAPPING]


def test_one_restart_is_no_flapping_however_long() -> None:
    """One tick, or five: one episode."""
    for length in (1, 5):
        assert flags(play("H" * 60 + "F" * length + "H" * 600)) == []


def test_two_restarts_within_minutes_are_one_deployment() -> None:
    """And say nothing."""
    assert flags(play("H" * 60 + "F" + "H" * 6 + "FF" + "H" * 600)) == []


def test_the_third_time_within_hours_is_flapping_and_is_over_after_a_quiet_time() -> None:
    """Each too short for an outage. The longest gap was two hours, so it is over after six quiet ones."""
    line = "H" * 60 + "F" + "H" * 119 + "FF" + "H" * 58 + "F" + "H" * 420
    found = play(line)
    assert flags(found) == [(True, 240), (False, 600)]
    assert found.letters(len(line), interval_us=MINUTE)[241:245] == "dddd"
    reason = next(r for v in found.verdicts for r in v.reasons if r.kind == FLAPPING)
    assert reason.since_us == START + 60 * MINUTE
    assert reason.value == 3
    assert reason.text.startswith("was down 3 times within 3 h")
    assert found.letters(len(line), interval_us=MINUTE)[-1] == "h"


def test_a_cluster_that_is_over_is_one_event_from_then_on() -> None:
    """Twelve hours after three times within minutes one more says nothing, nor a second one: that passed before."""
    cluster = "F" + "H" * 14 + "F" + "H" * 14 + "F"
    assert [tick for active, tick in flags(play(cluster + "H" * 720 + "F" + "H" * 30)) if active] == [15]
    again = cluster + "H" * 720 + "F" + "H" * 14 + "F" + "H" * 14
    assert [tick for active, tick in flags(play(again + "H" * 30)) if active] == [15]
    assert [tick for active, tick in flags(play(again + "F" + "H" * 30)) if active] == [15, 781]


def test_a_cluster_that_was_an_outage_makes_nobody_wary() -> None:
    """Four minutes of it are no chance: as much is told again as before."""
    cluster = "F" + "H" * 14 + "FFFF" + "H" * 14 + "F"
    again = play(cluster + "H" * 720 + "F" + "H" * 14 + "F" + "H" * 30)
    assert len([tick for active, tick in flags(again) if active]) == 2


def test_what_flaps_for_days_without_an_outage_is_what_the_target_is_like() -> None:
    """Down for a minute each three hours: told at first, and over, although it goes on."""
    found = flags(play(("F" + "H" * 179) * 8 * 12))
    assert [active for active, _ in found] == [True, False]
    assert found[1][1] < 6 * 1440


def test_one_location_that_flaps_is_no_flapping_target() -> None:
    """Ams fails every half hour, the others never."""
    core, found = detector(expectations("ams", "fra", "nyc", interval_us=MINUTE), POLICY), Published()
    lines = {"ams": ("H" * 29 + "F") * 20, "fra": "H" * 600, "nyc": "H" * 600}
    for rows in rows_of(lines, interval_us=MINUTE):
        found.add(core.apply(columns(rows)))
    assert flags(found) == []


def test_lost_checks_of_a_lone_location_are_no_flapping() -> None:
    """One in 300 at random, for four days: with one location each is a failing tick."""
    rng = np.random.default_rng(7)
    line = "".join(np.where(rng.random(5_760) < 1 / 300, "F", "H").tolist())
    assert len([1 for active, _ in flags(play(line, ("ams",))) if active]) <= 1


def test_flapping_that_ends_in_an_outage_is_told_before_it() -> None:
    """Ever shorter gaps: flagged at the second or third time, three quarters of the way before the end."""
    at = [int(1440 * (1 - 0.5**number)) for number in range(6)]
    line = "".join("F" if tick in at else "H" for tick in range(1440)) + "F" * 30
    found = flags(play(line))
    assert found[0][0]
    assert found[0][1] <= at[2]


@given(cut=st.integers(0, 400), gap=st.integers(12, 120))
@settings(max_examples=15, deadline=None)
def test_restored_from_a_snapshot_it_continues(cut: int, gap: int) -> None:
    """At any tick."""
    line = ("F" + "H" * gap) * 3 + "H" * 60
    whole, parts = play(line), play(line, cut=cut)
    assert parts.deviations == whole.deviations
    assert parts.verdicts == whole.verdicts


@given(least=st.integers(0, 12), mean=st.floats(1e-6, 8.0))
def test_the_poisson_tail_is_exact(least: int, mean: float) -> None:
    """Against one minus the sum of what is below, where that does not cancel."""
    below = sum(np.exp(-mean) * mean**k / float(np.prod(np.arange(1, k + 1, dtype=float))) for k in range(least))
    assert abs(poisson_tail(least, mean) - (1.0 - below)) < 1e-12
