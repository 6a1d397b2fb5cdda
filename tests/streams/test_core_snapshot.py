"""Snapshots: exact, without pickle, and refused when they are damaged or of another form."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streams.core.detect import CODE
from streams.core.snapshot import MAGIC, pack, unpack
from streams.policy import Expectations
from tests.streams.timelines import INTERVAL, START, Row, columns, detector, expectations

TYPES = st.sampled_from([np.bool_, np.uint8, np.int32, np.int64, np.uint64, np.float32, np.float64])


@given(arrays.arrays(dtype=TYPES, shape=arrays.array_shapes(min_dims=0, min_side=0)))
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    """Any shape, NaN and infinities too."""
    meta, found = unpack(pack({"a": 1}, {"x": array}))
    assert meta == {"a": 1}
    assert found["x"].dtype == array.dtype
    assert found["x"].shape == array.shape
    assert found["x"].tobytes() == array.tobytes()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_in_meta_come_back_exactly(value: float) -> None:
    """Scores and ratios are kept there too."""
    meta, _ = unpack(pack({"x": value}, {}))
    assert meta["x"] == value


def test_objects_are_refused() -> None:
    """Nothing that would need a pickle."""
    with pytest.raises(ValueError, match="'x' has type object"):
        pack({}, {"x": np.array([object()])})


@pytest.mark.parametrize(
    "damage",
    [
        lambda payload: payload[:-3],
        lambda payload: payload[:40],
        lambda payload: payload[:0],
        lambda payload: b"x" + payload[1:],
        lambda payload: payload[:60] + bytes([payload[60] ^ 1]) + payload[61:],
        lambda payload: payload[: len(MAGIC)],
        lambda payload: payload[: len(MAGIC)] + b"not compressed",
    ],
)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(damage: object) -> None:
    """ValueError, and the detector is what it was."""
    core = detector(expectations("ams"))
    for tick in range(30):
        core.apply(columns([Row(tick_us=START + tick * INTERVAL)]))
    before = core.snapshot()
    with pytest.raises(ValueError, match="snapshot"):
        core.restore(damage(before))  # type: ignore[operator]
    assert core.snapshot() == before


def test_another_form_is_refused() -> None:
    """What the incidents wrote, or an older version, is not loaded."""
    with pytest.raises(ValueError, match="its form is 'incidents-1'"):
        detector().restore(pack({"code": "incidents-1"}, {}))


def test_a_payload_without_its_arrays_is_refused() -> None:
    """A right code with missing parts says what is missing."""
    with pytest.raises(ValueError, match="snapshot"):
        detector().restore(pack({"code": CODE}, {}))


def test_a_snapshot_of_a_restored_detector_is_the_same() -> None:
    """Loading and saving again gives the same bytes."""
    core = detector(expectations("ams", "fra"))
    for tick in range(40):
        core.apply(columns([Row(tick_us=START + tick * INTERVAL, outcome=int(tick % 7 == 0))]))
        core.clock(START + tick * INTERVAL)
    again = detector(expectations("ams", "fra"))
    again.restore(core.snapshot())
    assert again.snapshot() == core.snapshot()


def test_a_location_that_was_taken_out_of_the_config_is_waited_for_no_longer() -> None:
    """Restored under a config without fra: ticks close when ams has reported."""
    core = detector(expectations("ams", "fra"))
    for tick in range(10):
        core.apply(columns([Row(tick_us=START + tick * INTERVAL, location=name) for name in ("ams", "fra")]))
    again = detector(expectations("ams"))
    again.restore(core.snapshot())
    told = again.apply(columns([Row(tick_us=START + 10 * INTERVAL, outcome=1)]))
    assert [getattr(each, "verdict", None) for each in told.verdicts][:1] == ["failing"]


def test_a_location_that_was_added_to_the_config_is_waited_for() -> None:
    """Restored under a config with nyc: its failure counts from its first check."""
    core = detector(expectations("ams"))
    for tick in range(10):
        core.apply(columns([Row(tick_us=START + tick * INTERVAL)]))
    again = detector(expectations("ams", "nyc"))
    again.restore(core.snapshot())
    rows = [Row(tick_us=START + 10 * INTERVAL, location=name, outcome=1) for name in ("ams", "nyc")]
    told = again.apply(columns(rows))
    assert [getattr(each, "failed", None) for each in told.verdicts][:1] == [["ams", "nyc"]]


def test_everything_that_is_published_is_plain_json() -> None:
    """No NaN, no infinity, no numpy number gets out."""
    core, found = detector(Expectations()), list[object]()
    rng = np.random.default_rng(1)
    for tick in range(200):
        rows = [
            Row(
                tick_us=START + tick * INTERVAL,
                location=name,
                outcome=int(rng.random() < 0.1),
                duration_us=float(20_000 * (9 if tick > 100 else 1) * rng.lognormal(0, 0.1)),
                metrics={"tls_days_left": 10.0, "disk_free_ratio:/": 0.5 - tick / 500},
            )
            for name in ("ams", "fra")
        ]
        told = core.apply(columns(rows))
        found += [*told.deviations, *told.verdicts, *core.clock(START + tick * INTERVAL).verdicts]
    for each in found:
        assert msgspec.json.decode(msgspec.json.encode(each), type=type(each)) == each
