"""How detection and incidents judge: frozen values, given by the config. Every number has its unit in its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US
WEEK_US: Final = 7 * DAY_US


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectPolicy:
    """How series are judged and ticks are closed.

    Attributes:
        warm_up_checks: A baseline says nothing before so many healthy checks.
        baseline_half_life_checks: How quickly centre and spread of log latency follow.
        warn_score: Smoothed score, in robust standard deviations, from which a level counts as left.
        warn_ticks: So many ticks in a row before a series is flagged.
        clear_score: Below it, for warn_ticks ticks, a flagged series is back.
        min_latency_ratio: A level must also be this many times the baseline: a tight spread alone warns nobody.
        rebaseline_checks: After so many flagged checks in a row without a failure the new level is the norm.
        failure_window_ticks: Ticks of a target that a failure ratio tells of, and of which it ends (at most 63).
        expected_failure_ratio: The least ratio of failing checks that is normal; the higher, the longer a run of
            failures that pages.
        horizon_us: A forecast warns when the lower bound of the time left is under this.
        certificate_horizon_us: The same for `tls_days_left`.
        max_lateness_us: lateness = min(2 intervals, this).
        min_silence_us: silence = max(2 intervals, this).
        stop_grace_us: Silence after an orderly stop.
        slot_us: Width of a summary and of a clock event.
        false_warnings_per_series_week: How many false warnings a series may give in a week: every detector's
            threshold is calibrated to it.
        settle_ticks: Verdicts are published for so many ticks after a change (at least every threshold of
            IncidentPolicy).
    """

    warm_up_checks: int = 60
    baseline_half_life_checks: float = 240.0
    warn_score: float = 4.0
    warn_ticks: int = 3
    clear_score: float = 2.0
    min_latency_ratio: float = 1.3
    rebaseline_checks: int = 720
    failure_window_ticks: int = 60
    expected_failure_ratio: float = 0.0005
    horizon_us: int = 3 * DAY_US
    certificate_horizon_us: int = 14 * DAY_US
    max_lateness_us: int = 120 * SECOND_US
    min_silence_us: int = 60 * SECOND_US
    stop_grace_us: int = 300 * SECOND_US
    slot_us: int = 10 * SECOND_US
    false_warnings_per_series_week: float = 0.01
    settle_ticks: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPolicy:
    """When incidents open, escalate and resolve, and what pages.

    Attributes:
        failure_ticks: Failing ticks in a row that make an outage.
        success_ticks: Healthy ticks in a row that resolve.
        warning_ticks: Ticks in a row with a reason that open an early warning (detectors have their own patience).
        partial_failure_ticks: Ticks in a row with failures under the quorum that open an early warning.
        flap_ticks: What opens within so many intervals after the last incident ended, is flapping: it is resolved
            only when the target has been well for as long.
        page_after_us: An outage pages when it has lasted so long, or five intervals if that is less: a restart is
            told, and wakes nobody.
        page_time_left_us: An early warning pages when its lower bound of the time left is under this.
        page_signals: An early warning pages when so many independent signals agree; 0: never for that.
        trouble_targets: A location is in trouble when so many targets fail together from it ...
        trouble_addresses: ... on at least so many addresses.
    """

    failure_ticks: int = 3
    success_ticks: int = 2
    warning_ticks: int = 1
    partial_failure_ticks: int = 5
    flap_ticks: int = 20
    page_after_us: int = 40 * SECOND_US
    page_time_left_us: int = 3600 * SECOND_US
    page_signals: int = 2
    trouble_targets: int = 3
    trouble_addresses: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeExpectation:
    """What the config says of one probe: its interval, and the locations that should report.

    Attributes:
        timeout_us: From which duration a check fails; None if that is not known.
    """

    interval_us: int
    locations: tuple[str, ...]
    timeout_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What should arrive, by (target, probe). What is not named here is learned from what arrives.

    Attributes:
        detect: Overrides by target.
        incidents: Overrides by target.
        groups: By target the name of what it shares with others: those that fail together are one incident.
        depends_on: By target those whose failure explains its own; without cycles.
    """

    probes: Mapping[tuple[str, str], ProbeExpectation] = field(default_factory=dict)
    detect: Mapping[str, DetectPolicy] = field(default_factory=dict)
    incidents: Mapping[str, IncidentPolicy] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    depends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Where alerts go. Exactly one of `apprise_url` and `webhook_url` is set; both are secrets.

    Attributes:
        pages: Wakes a person: gets only what pages. Others get everything.
    """

    name: str
    apprise_url: str | None = field(default=None, repr=False)
    webhook_url: str | None = field(default=None, repr=False)
    pages: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """How alerts are sent.

    Attributes:
        watched: What each (target, probe) looks at, as an alert names it: a URL without secrets, an address.
        reminder_us: An open, unacknowledged outage is told again after this; None never.
        timeout_us: Of one delivery.
        give_up_us: A delivery is retried with backoff until this has passed, then recorded as given up.
    """

    channels: tuple[Channel, ...] = ()
    watched: Mapping[tuple[str, str], str] = field(default_factory=dict)
    reminder_us: int | None = 3600 * SECOND_US
    timeout_us: int = 10 * SECOND_US
    give_up_us: int = 3600 * SECOND_US
