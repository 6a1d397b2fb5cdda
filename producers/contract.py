"""The contract of a check: what producers publish to the topic `checks.v1`.

Four kinds of message travel there, told apart by their field `type`: a batch of checks, a clock event, the
announcement of a producer's orderly stop, and a producer's health. All are JSON. Times are integer
microseconds UTC, named `*_at_us`; durations are named `*_us`.

The JSON Schemas and an example of each message lie in `producers/schemas/`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt

VERSION: Final = 1
"""The version that is written. Readers accept it and the one before."""

MAX_BATCH_CHECKS: Final = 500
"""The most checks that a producer packs into one message."""

MAX_MESSAGE_BYTES: Final = 1_000_000
"""A larger message is refused by readers and goes to the dead letters."""

MAX_DETAIL_CHARS: Final = 200
"""Longer details are cut. They never hold a response's body."""

MAX_NAME_CHARS: Final = 500
"""A longer name of a target, probe, location or producer is refused."""

EARLIEST_US: Final = 946_684_800 * 1_000_000
"""2000-01-01: an earlier time is in another unit (seconds, milliseconds) or none at all."""

MAX_DURATION_US: Final = 86_400 * 1_000_000
"""A check that took longer than a day is a mistake of units."""

FAR_FUTURE_US: Final = 5 * 60 * 1_000_000
"""A check scheduled further than this after its message's log timestamp is refused."""

ANCHOR_CUSTOMER: Final = "_anchor"
"""Target `_anchor/<location>` is a location's own anchor check: when it fails, the location is in trouble."""


class Outcome(enum.StrEnum):
    """How a check ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    MISSED = "missed"  # it could not be run in time: nothing is known of the target


class FailureReason(enum.StrEnum):
    """Why a check failed. On the wire any text is accepted, so that an older reader survives a newer one."""

    TIMEOUT = "timeout"
    DNS_ERROR = "dns_error"
    CONNECTION_ERROR = "connection_error"
    TLS_ERROR = "tls_error"
    HTTP_STATUS = "http_status"
    PROTOCOL_ERROR = "protocol_error"
    BODY_MISMATCH = "body_mismatch"
    RESPONSE_TOO_LARGE = "response_too_large"
    REDIRECT = "redirect"
    UNAVAILABLE = "unavailable"  # host probe: a mount or a reading is not there


class MissedReason(enum.StrEnum):
    """Why a check was missed."""

    OVERLOAD = "overload"  # all slots were taken until the next tick
    STOPPED = "stopped"  # the producer was not running
    NO_NETWORK = "no_network"  # the location itself has no network
    PROBE_ERROR = "probe_error"  # a defect of the probe itself; the producer's log says which


PHASES: Final = ("dns", "connect", "tls", "wait", "transfer")
"""The phases of a check, in order. `wait` is from the last byte sent to the first byte received."""

DEAD_LETTER_REASONS: Final = (
    "malformed",
    "oversized",
    "unknown_version",
    "unknown_type",
    "far_future",
    "invalid",
)

OUTCOME_SUCCESS: Final = 0
OUTCOME_FAILURE: Final = 1
OUTCOME_MISSED: Final = 2
OUTCOME_CODES: Final[Mapping[str, int]] = {
    Outcome.SUCCESS: OUTCOME_SUCCESS,
    Outcome.FAILURE: OUTCOME_FAILURE,
    Outcome.MISSED: OUTCOME_MISSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One run of one probe against one target from one location.

    The identity is (target, probe, location, scheduled_at_us); of two with one identity the earlier
    `started_at_us` wins everywhere.

    Attributes:
        target: `customer/name`.
        probe: The probe's name, unique within the target.
        kind: The probe's type: http, tls, tcp, host.
        location: Where it was run.
        scheduled_at_us: The tick. The same at all locations. Orders and identifies the check.
        started_at_us: When it really began.
        duration_us: The whole check; None if and only if it was missed.
        outcome: success, failure or missed.
        reason: Why it failed or was missed, else None.
        detail: The same for a person, at most MAX_DETAIL_CHARS, without secrets and bodies.
        address: The IP address that was talked to, if one was.
        http_status: The status of the last response, if there was one.
        phases: Microseconds by phase; a phase that was not reached is absent.
        metrics: Named readings, for example `tls_days_left`, `disk_free_ratio:/`. Finite.
        disturbed: This location's event loop lagged during the check, so its times say little.
    """

    target: str
    probe: str
    kind: str
    location: str
    scheduled_at_us: int
    started_at_us: int
    duration_us: int | None
    outcome: Outcome
    reason: str | None = None
    detail: str | None = None
    address: str | None = None
    http_status: int | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    disturbed: bool = False


# Bounds that the decoder itself holds, in C and for nothing; they are in the JSON Schemas too.
TimeUs = Annotated[int, msgspec.Meta(ge=EARLIEST_US, le=2**62)]
DurationUs = Annotated[int, msgspec.Meta(ge=0, le=MAX_DURATION_US)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Row = Annotated[int, msgspec.Meta(ge=0, lt=MAX_BATCH_CHECKS)]
HttpStatus = Annotated[int, msgspec.Meta(ge=0, le=999)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]


class SparseNumbers(msgspec.Struct, frozen=True):
    """A column that few checks of a batch have: `values[k]` belongs to check number `rows[k]`."""

    rows: list[Row]
    values: list[float]


class SparseTexts(msgspec.Struct, frozen=True):
    """The same for texts."""

    rows: list[Row]
    values: list[str]


class CheckBatch(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="checks", omit_defaults=True):
    """Up to MAX_BATCH_CHECKS checks of one producer, column by column. All plain columns have one length.

    Columns mean what the attributes of Check of the same name mean. `phases` has a full column for each phase
    that any check reached; `metrics` are sparse; `disturbed` lists row numbers.
    """

    v: int
    producer: Name
    location: Name
    target: list[Name]
    probe: list[Name]
    kind: list[Name]
    scheduled_at_us: list[TimeUs]
    started_at_us: list[TimeUs]
    duration_us: list[DurationUs | None]
    outcome: list[Outcome]
    reason: list[str | None]
    address: list[str | None]
    http_status: list[HttpStatus | None]
    phases: dict[str, list[DurationUs | None]] = {}
    metrics: dict[str, SparseNumbers] = {}
    detail: SparseTexts | None = None
    disturbed: list[Row] = []


class ClockTick(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="clock"):
    """The owner of a partition of `checks` says what time it is: silence is seen. Id: (partition, at_us).

    Attributes:
        at_us: A multiple of the policy's slot.
    """

    v: int
    partition: Count
    at_us: TimeUs


class ProducerStopped(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="stopped"):
    """A producer ends in order; written to every partition. Its silence is excused for five minutes."""

    v: int
    producer: Name
    location: Name
    at_us: TimeUs


class ProducerHealth(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="health"):
    """What a producer says of itself once a minute.

    Attributes:
        loop_lag_us: The event loop's largest lag since the last message.
        spool_bytes: Size of the spool on disk.
        spool_records: Messages in it that are not safe yet.
        spool_dropped: Messages that were dropped at the spool's bound since the start.
        checks: Checks done since the start.
        missed: Ticks missed since the start.
    """

    v: int
    producer: Name
    location: Name
    at_us: TimeUs
    started_at_us: TimeUs
    loop_lag_us: Count
    spool_bytes: Count
    spool_records: Count
    spool_dropped: Count
    checks: Count
    missed: Count


CheckMessage = CheckBatch | ClockTick | ProducerStopped | ProducerHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckColumns:
    """n checks as columns for numpy, of one batch or of many (a replay), in any order.

    Attributes:
        location: One a check: a replay mixes locations.
        outcome: uint8 codes OUTCOME_*.
        duration_us: float64, NaN where missed.
        phases: float64 by phase, NaN where not reached. All of length n.
        metrics: float64 by metric name, NaN where absent. All of length n.
        disturbed: bool.
    """

    target: list[str]
    probe: list[str]
    kind: list[str]
    location: list[str]
    scheduled_at_us: npt.NDArray[np.int64]
    started_at_us: npt.NDArray[np.int64]
    duration_us: npt.NDArray[np.float64]
    outcome: npt.NDArray[np.uint8]
    reason: list[str | None]
    address: list[str | None]
    http_status: list[int | None]
    phases: dict[str, npt.NDArray[np.float64]]
    metrics: dict[str, npt.NDArray[np.float64]]
    detail: list[str | None]
    disturbed: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.target)
