"""Traps of the whole installation: when what is said of them is told."""

from benchmarks.detection.noise import HOUR_US
from benchmarks.detection.scenario import told_within
from benchmarks.detection.traps import SHARED_TRAPS, Place


def test_a_location_whose_clock_is_wrong_tells_of_its_network_at_the_wrong_time() -> None:
    """Its own trap is where it is; a trap of another location, or at another time, stays."""
    network, _gap, skew = SHARED_TRAPS

    def place(location: int | None, start_h: int, end_h: int, *strength: float) -> Place:
        return Place(location=location, start_us=start_h * HOUR_US, end_us=end_h * HOUR_US, strength=strength)

    early, late = (skew, place(0, 10, 20, -300.0)), (skew, place(0, 15, 16, 60.0))
    minute_us = HOUR_US // 60
    window = (12 * HOUR_US, 13 * HOUR_US)
    assert told_within("skew", early[1], [early, late]) == (10 * HOUR_US, 20 * HOUR_US)
    for location, expected in (
        (0, (window[0] - 5 * minute_us, window[1])),
        (1, window),
        (None, (window[0] - 5 * minute_us, window[1])),
    ):
        mine = place(location, 12, 13, 0.0, 1.0)
        assert told_within("network", mine, [(network, mine), early, late]) == expected
    mine = place(0, 12, 16, 0.0, 1.0)
    assert told_within("network", mine, [early, late]) == (window[0] - 5 * minute_us, 16 * HOUR_US + minute_us)
    mine = place(0, 21, 22, 0.0, 1.0)
    assert told_within("network", mine, [early, late]) == (21 * HOUR_US, 22 * HOUR_US)
