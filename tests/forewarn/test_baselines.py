"""The norm that the screen shows is the one that the workers judge by."""

from dataclasses import replace
from pathlib import Path

import pytest

from forewarn.baselines import latency_baselines
from forewarn.config.config import Config, load
from producers.codec import columns, pack
from producers.contract import Check, Outcome
from streams.contract import Snapshot, payload_checksum
from streams.core.detect import CODE, Detector
from streams.detect import GROUP
from streams.local_state import LocalStateStore

START_US = 1_790_000_000_000_000
PARTITIONS = 3
TEXT = """\
version: 1
locations: [{name: ams}, {name: fra}, {name: nyc}]
detection: {warm_up_checks: 5}
targets:
  - {name: shop, interval: 1s, timeout: 900ms, probes: [{http: {url: 'http://h/'}, name: front}]}
  - {name: young, interval: 1s, timeout: 900ms, probes: [{http: {url: 'http://h/'}, name: front}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of two targets at three locations; a baseline needs five checks."""
    (tmp_path / "forewarn.yaml").write_text(TEXT)
    return load(tmp_path / "forewarn.yaml")


def learned(config: Config, target: str, ticks: int, **latency_us: int) -> Detector:
    """Return a detector of partition 1 that saw so many ticks of a target, each location with its own latency."""
    detector = Detector(config.detect_policy, config.expectations(), partition=1)
    for tick in range(ticks):
        at_us = START_US + tick * 1_000_000
        for location, duration_us in latency_us.items():
            check = Check(
                target=target,
                probe="front",
                kind="http",
                location=location,
                scheduled_at_us=at_us,
                started_at_us=at_us,
                duration_us=duration_us,
                outcome=Outcome.SUCCESS,
            )
            detector.apply(columns(pack([check], producer=location)))
    return detector


def keep(data_dir: Path, detector: Detector, *, taken_at_us: int = START_US, code: str = CODE) -> Snapshot:
    """Save its snapshot as the worker does."""
    payload = detector.snapshot()
    snapshot = Snapshot(
        group=GROUP,
        partition=1,
        positions=(("checks.v1", 1, "e", 0),),
        taken_at_us=taken_at_us,
        code=code,
        payload=payload,
        checksum=payload_checksum(payload),
    )
    LocalStateStore(data_dir / "workers" / "detect" / "snapshots").save(snapshot)
    return snapshot


def test_the_norm_is_the_median_over_locations(config: Config, tmp_path: Path) -> None:
    """Of constant latencies the norm is that latency: 40, 50 and 600 ms make 50."""
    keep(tmp_path, learned(config, "main/shop", 40, ams=40_000, fra=50_000, nyc=600_000))
    found = latency_baselines(config, tmp_path, partitions=PARTITIONS)
    assert found == {("main/shop", "front"): pytest.approx(50_000, rel=1e-3)}


def test_there_is_none_while_it_warms_up(config: Config, tmp_path: Path) -> None:
    """Nor where nobody has written a snapshot."""
    assert latency_baselines(config, tmp_path, partitions=PARTITIONS) == {}
    keep(tmp_path, learned(config, "main/young", 2, ams=40_000, fra=50_000, nyc=60_000))
    assert latency_baselines(config, tmp_path, partitions=PARTITIONS) == {}


def test_the_newest_snapshot_counts(config: Config, tmp_path: Path) -> None:
    """Not an older one that lies beside it."""
    slow = {"ams": 80_000, "fra": 80_000, "nyc": 80_000}
    keep(tmp_path, learned(config, "main/shop", 40, ams=40_000, fra=40_000, nyc=40_000))
    keep(tmp_path, learned(config, "main/shop", 40, **slow), taken_at_us=START_US + 1)
    found = latency_baselines(config, tmp_path, partitions=PARTITIONS)
    assert found == {("main/shop", "front"): pytest.approx(80_000, rel=1e-3)}


def test_a_snapshot_of_another_form_is_not_read(config: Config, tmp_path: Path) -> None:
    """After an update, until the workers have written their own: no norm, and no error."""
    detector = learned(config, "main/shop", 40, ams=40_000, fra=40_000, nyc=40_000)
    other = keep(tmp_path, detector, code="another form")
    LocalStateStore(tmp_path / "workers" / "detect" / "snapshots").save(
        replace(other, payload=b"", checksum=payload_checksum(b""))
    )
    assert latency_baselines(config, tmp_path, partitions=PARTITIONS) == {}
