"""From probes to targets: a target is the worst of its probes, tick by tick, in rising order.

Probes of a target close their ticks independently. What one of them found at a tick is published once its siblings
are judged up to that tick too, but waits no longer than its own lateness: a sibling that fell silent (a host probe
on a machine that crashed) must not hold back the outage. Ticks of a target only ever rise; what a sibling finds
after that, is published with the target's next tick.
"""

from collections.abc import Callable

import msgspec

from streams.contract import VERSION, Reason, Verdict, derived_id
from streams.core.quorum import FAILING, HEALTHY, NAMES, UNKNOWN
from streams.core.watermark import FOREVER, NEVER
from streams.policy import SECOND_US

HOUR_US = 3600 * SECOND_US


class ProbeState(msgspec.Struct, kw_only=True):
    """What one probe of a target is at a tick.

    Attributes:
        code: Of `quorum`.
        since_us: For failing the first failing check, for unknown the first tick without one, else the tick.
        patience_us: How long its siblings are waited for.
        reported, failed: Locations.
    """

    target: str
    probe: str
    tick_us: int
    code: int
    since_us: int
    interval_us: int
    lateness_us: int
    patience_us: int
    reported: list[str]
    failed: list[str]
    address: str | None
    reasons: list[Reason]


class TargetState(msgspec.Struct, kw_only=True):
    """What a target is, and what waits to be said of it.

    Attributes:
        known_us: The tick at which it was last known again after being unknown: no verdict is dated back before it,
            as what nobody saw is not accounted.
        signature: What a change is told by: the verdict, failing locations, and what reasons tell (`_told`).
    """

    code: int = UNKNOWN
    since_us: int = NEVER
    tick_us: int = NEVER
    known_us: int = NEVER
    address: str | None = None
    signature: list[str] = []
    probes: dict[str, ProbeState] = {}
    waiting: list[ProbeState] = []


class Verdicts:
    """The state of all targets of a partition."""

    def __init__(self) -> None:
        self.targets: dict[str, TargetState] = {}
        self._waiting: set[str] = set()

    def add(self, state: ProbeState) -> None:
        """Take in what a probe found at a tick; ticks of a probe rise."""
        target = self.targets.setdefault(state.target, TargetState())
        target.waiting.append(state)
        self._waiting.add(state.target)

    def load(self, targets: dict[str, TargetState]) -> None:
        """Take over the targets of a snapshot."""
        self.targets = targets
        self._waiting = {name for name, target in targets.items() if target.waiting}

    def waits(self) -> bool:
        """Say whether anything waits to be published."""
        return bool(self._waiting)

    def waiting_since_us(self) -> int:
        """Return the oldest tick that is not published yet; FOREVER if there is none."""
        waiting = (state.tick_us for name in self._waiting for state in self.targets[name].waiting)
        return min(waiting, default=FOREVER)

    def publish(self, *, watermark_us: int, judged: Callable[[str, bool], int]) -> tuple[list[Verdict], list[str]]:
        """Return the verdicts that can be published, by (tick, target), and targets whose next tick must be.

        Args:
            watermark_us: Up to where everything has arrived.
            judged: Called with a target and whether silent probes count too: the tick up to which all its probes
                are judged.
        """
        verdicts: list[Verdict] = []
        overtaken: list[str] = []
        for name in sorted(self._waiting):
            target = self.targets[name]
            target.waiting.sort(key=lambda state: (state.tick_us, state.probe))
            while target.waiting:
                # When all were silent, all may be coming back: then they are waited for.
                judged_us = judged(name, all(state.code == UNKNOWN for state in target.probes.values()))
                tick_us = target.waiting[0].tick_us
                now = [state for state in target.waiting if state.tick_us == tick_us]
                patience_us = min(state.patience_us for state in now)
                if tick_us > judged_us and tick_us + patience_us > watermark_us:
                    break
                del target.waiting[: len(now)]
                for state in now:
                    target.probes[state.probe] = state
                if tick_us > target.tick_us:
                    verdicts.append(_verdict(name, target, now))
                else:
                    overtaken.append(name)
            if not target.waiting:
                self._waiting.discard(name)
        verdicts.sort(key=lambda verdict: (verdict.tick_us, verdict.target))
        return verdicts, overtaken


def _told(reason: Reason) -> str:
    """Return what makes a reason news: kind, subject, severity, and the time left by powers of two of an hour.

    Without the last one a disk that fills slowly would be told of once, days before, and never page.
    """
    left = "" if reason.time_left_us is None else max(0, reason.time_left_us // HOUR_US).bit_length()
    return f"{reason.kind}\x1f{reason.subject}\x1f{reason.severity}\x1f{left}"


def _verdict(name: str, target: TargetState, now: list[ProbeState]) -> Verdict:
    probes = [target.probes[probe] for probe in sorted(target.probes)]
    code = max((state.code for state in probes), default=HEALTHY)
    failed = sorted({location for state in probes for location in state.failed})
    reasons = [reason for state in sorted(probes, key=lambda state: -state.code) for reason in state.reasons]
    kinds = sorted({_told(reason) for reason in reasons})
    signature = [NAMES[code], *failed, "", *kinds]
    tick_us, previous = now[0].tick_us, NAMES[target.code]
    changed = signature != target.signature
    if code != target.code or target.tick_us == NEVER:
        if target.code == UNKNOWN and target.tick_us != NEVER:
            target.known_us = tick_us
        worst = [state.since_us for state in probes if state.code == code]
        target.since_us = max(min(worst), target.known_us) if code in (FAILING, UNKNOWN) else tick_us
    target.code, target.tick_us, target.signature = code, tick_us, signature
    target.address = next((state.address for state in now if state.address is not None), target.address)
    return Verdict(
        v=VERSION,
        id=derived_id("verdict", name, tick_us),
        target=name,
        tick_us=tick_us,
        verdict=NAMES[code],
        previous=previous,
        changed=changed,
        since_us=target.since_us,
        interval_us=now[0].interval_us,
        lateness_us=now[0].lateness_us,
        reported=sorted({location for state in probes for location in state.reported}),
        failed=failed,
        address=target.address,
        reasons=reasons,
    )
