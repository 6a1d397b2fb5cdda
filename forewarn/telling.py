"""The most telling number of a check by its kind: latency, days of a certificate, the fullest part of a machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One number.

    Attributes:
        value: Microseconds of a latency, days, or the part that is used, 0..1.
        what: Which part of a machine; empty where the kind says it.
    """

    kind: str
    value: float
    what: str = ""

    @property
    def is_latency(self) -> bool:
        """Whether it has a norm to be held against."""
        return self.kind not in ("tls", "host")

    def __str__(self) -> str:
        """Return it with its unit."""
        if self.kind == "tls":
            return f"{self.value:.1f} days" if self.value < 10 else f"{self.value:.0f} days"
        if self.kind == "host":
            return f"{self.what} {self.value:.0%}"
        return latency_text(self.value)


def latency_text(latency_us: float) -> str:
    """Return a latency in milliseconds: `0.4 ms`, `412 ms`."""
    return f"{latency_us / 1000:.1f} ms" if latency_us < 9_950 else f"{latency_us / 1000:.0f} ms"


def telling(kind: str, duration_us: float | None, metrics: Mapping[str, float]) -> Telling | None:
    """Return the most telling number of one check, None if it has none.

    Args:
        kind: Of its probe.
        duration_us: Of the whole check; None if it was missed.
        metrics: Its readings by name.
    """
    if kind == "tls":
        days = metrics.get("tls_days_left")
        return None if days is None else Telling(kind=kind, value=days)
    if kind == "host":
        used = sorted(_used(metrics), key=lambda part: (-part[1], part[0]))
        return None if not used else Telling(kind=kind, what=used[0][0], value=used[0][1])
    return None if duration_us is None else Telling(kind=kind, value=float(duration_us))


def over_locations(tellings: Iterable[Telling]) -> Telling | None:
    """Return the one that stands for all locations: the median latency, the fewest days, the fullest part."""
    found = sorted(tellings, key=lambda one: (one.value, one.what))
    if not found:
        return None
    if found[0].kind == "tls":
        return found[0]
    if found[0].kind == "host":
        return found[-1]
    return Telling(kind=found[0].kind, value=median(one.value for one in found))


def _used(metrics: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """Yield how much is used of each part of a machine that can be full."""
    for name, value in metrics.items():
        metric, _, mount = name.partition(":")
        if metric in ("cpu_used_ratio", "memory_used_ratio"):
            yield metric.removesuffix("_used_ratio"), value
        elif metric in ("disk_free_ratio", "inode_free_ratio"):
            yield f"{'disk' if metric == 'disk_free_ratio' else 'inodes'} {mount}", 1 - value
