"""What is published of a detector that had to begin without its state."""

import msgspec

from streams.contract import VERSION, Deviation, LocationCount, Reason, TickSummary, Verdict, VerdictName
from streams.core.outputs import Outputs
from streams.core.sure import sure


def verdict(name: VerdictName, *kinds: str) -> Verdict:
    """A verdict with reasons of these kinds."""
    return Verdict(
        v=VERSION, id="1", target="main/shop", tick_us=10, verdict=name, previous="healthy", changed=True, since_us=10,
        interval_us=10, lateness_us=20, reported=["ams"], failed=[],
        reasons=[Reason(kind=kind, subject="service", text=kind, probe="web", since_us=10) for kind in kinds],
    )  # fmt: skip


def deviation(detector: str, *, active: bool) -> Deviation:
    """A deviation of a detector."""
    return Deviation(
        v=VERSION, id="2", target="main/shop", probe="web", location="ams", metric="m", detector=detector,
        tick_us=10, since_us=10, active=active, score=5.0, value=1.0,
    )  # fmt: skip


def test_failures_and_what_runs_out_are_told() -> None:
    """They need no baseline. They say that they are provisional: what the target was before is not known."""
    told = [verdict("failing", "failing"), verdict("degraded", "partial_failure"), verdict("degraded", "forecast")]
    forecast = deviation("forecast", active=True)
    assert sure(Outputs(verdicts=[*told], deviations=[forecast])) == Outputs(
        verdicts=[msgspec.structs.replace(one, provisional=True) for one in told],
        deviations=[msgspec.structs.replace(forecast, provisional=True)],
    )


def test_nothing_unusual_and_no_recovery_is_told() -> None:
    """Only the true state knows what is usual, and what was off before."""
    unsure = [verdict("degraded", "latency_level"), verdict("healthy"), verdict("unknown", "silence")]
    deviations = [deviation("latency_level", active=True), deviation("forecast", active=False)]
    assert sure(Outputs(verdicts=[*unsure], deviations=deviations, late=1, redelivered=2)) == Outputs(
        late=1, redelivered=2
    )


def test_of_a_failing_target_only_what_is_sure_is_a_reason() -> None:
    """The rest of its reasons came from a baseline of minutes."""
    (told,) = sure(Outputs(verdicts=[verdict("failing", "failing", "metric_level")])).verdicts
    assert isinstance(told, Verdict)
    assert [one.kind for one in told.reasons] == ["failing"]


def test_summaries_are_told() -> None:
    """They say what was checked, and that this partition is judged at all."""
    counts = [LocationCount(location="ams", reported=1, failed=0)]
    summary = TickSummary(v=VERSION, id="3", partition=0, slot_us=0, width_us=10, closed_through_us=9, locations=counts)
    assert sure(Outputs(verdicts=[summary])).verdicts == [summary]
