"""The latency that is normal, as the detect workers of this machine have learned it."""

from collections import defaultdict
from pathlib import Path
from statistics import median

from forewarn.config.config import Config
from streams.core.detect import CODE, Detector
from streams.detect import GROUP
from streams.local_state import LocalStateStore


def latency_baselines(config: Config, data_dir: Path, *, partitions: int) -> dict[tuple[str, str], float]:
    """Return the normal latency by (target, probe), microseconds: the median over its locations.

    It is read from the local copies of the workers' newest snapshots, so it is what they judge by; a probe whose
    baselines still warm up is not there.

    Args:
        config: Of the workers.
        data_dir: Of the workers.
        partitions: Of the topic `checks`.
    """
    store = LocalStateStore(data_dir / "workers" / GROUP / "snapshots")
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for partition in range(partitions):
        for snapshot in store.load(GROUP, partition)[:1]:
            if snapshot.code != CODE:
                continue
            detector = Detector(config.detect_policy, config.expectations(), partition=partition)
            detector.restore(snapshot.payload)
            for (target, probe, _location), latency_us in detector.baselines().items():
                found[target, probe].append(latency_us)
    return {key: median(values) for key, values in found.items()}
