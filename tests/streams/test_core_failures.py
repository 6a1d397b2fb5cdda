"""The failure ratio: exact statistics of small samples, and what is no sign."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.failures import tail
from streams.policy import DetectPolicy
from tests.streams.timelines import INTERVAL, START, run

POLICY = DetectPolicy(warm_up_checks=20)


@given(failures=st.integers(0, 60), trials=st.integers(0, 60), thousandths=st.integers(1, 500))
def test_the_tail_is_exact(failures: int, trials: int, thousandths: int) -> None:
    """Against rational arithmetic."""
    ratio = Fraction(thousandths, 1000)
    exact = sum(comb(trials, k) * ratio**k * (1 - ratio) ** (trials - k) for k in range(failures, trials + 1))
    assert tail(failures, trials, float(ratio)) == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


def test_failures_scattered_over_twenty_ticks_are_a_deviation() -> None:
    """Never two in a row, so no outage; five times in twenty ticks is no chance."""
    #                       0         1         2         3         4         5
    #                       0123456789012345678901234567890123456789012345678901234
    found = run({"ams": "H" * 40 + "FHHHFHHFHHHFHHHF" + "H" * 40}, policy=POLICY)
    flags = [(deviation.active, (deviation.tick_us - START) // INTERVAL) for deviation in found.deviations]
    assert [active for active, _ in flags] == [True, False]
    assert 47 <= flags[0][1] <= 52
    assert found.deviations[0].since_us == START + 40 * INTERVAL
    assert found.letters(96)[52:55] == "ddd"
    reason = next(v for v in found.verdicts if v.verdict == "degraded").reasons[0]
    assert (reason.kind, reason.metric) == ("failure_ratio", "failure_ratio")
    assert found.letters(96)[-1] == "h"


def test_an_outage_is_no_failure_ratio_and_leaves_none_behind() -> None:
    """Ten failing ticks, then well: healthy at once."""
    found = run({"ams": "H" * 40 + "F" * 10 + "H" * 30, "fra": "H" * 40 + "F" * 10 + "H" * 30}, policy=POLICY)
    assert found.deviations == []
    assert found.letters(80)[49:52] == "fhh"


def test_a_restart_of_two_ticks_is_one_event() -> None:
    """All locations fail together twice in a row: no ratio, and healthy after it."""
    lines = dict.fromkeys(("ams", "fra", "nyc"), "H" * 40 + "FF" + "H" * 30)
    found = run(lines, policy=POLICY)
    assert found.deviations == []
    assert found.letters(72)[40:44] == "ffhh"


def test_one_locations_failures_alone_are_no_ratio() -> None:
    """Ams fails often, fra never: partial failures of ams, which may be its own trouble."""
    found = run({"ams": "H" * 40 + "FHFHFHFHFHFH" + "H" * 20, "fra": "H" * 72}, policy=POLICY)
    assert found.deviations == []


def test_lost_checks_now_and_then_are_no_deviation() -> None:
    """One failure in fifty ticks is within what is expected."""
    found = run({"ams": ("H" * 49 + "F") * 8}, policy=POLICY)
    assert found.deviations == []
