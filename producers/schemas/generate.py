"""Schemas from the structs of the contract, examples from checks that say something.

The files are kept, so that a change of the wire shows in a diff, and a test holds them to the contract. Examples
of the version before stay beside them when the version rises: readers must go on reading those.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from producers.codec import encode, pack
from producers.contract import (
    VERSION,
    Check,
    CheckBatch,
    CheckMessage,
    ClockTick,
    FailureReason,
    MissedReason,
    Outcome,
    ProducerHealth,
    ProducerStopped,
)
from producers.schemas.files import pretty, schema_of

DIRECTORY: Final = Path(__file__).parent
TICK_US: Final = 1_790_000_010_000_000

_SCHEMAS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "check_batch": CheckBatch,
    "clock_tick": ClockTick,
    "producer_stopped": ProducerStopped,
    "producer_health": ProducerHealth,
}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the path under this folder and the content of each file."""
    for name, struct in _SCHEMAS.items():
        yield f"{name}.v{VERSION}.schema.json", pretty(schema_of(struct))
    for name, message in examples().items():
        yield f"examples/{name}.v{VERSION}.json", pretty(msgspec.json.decode(encode(message)))


def examples() -> dict[str, CheckMessage]:
    """Return a message of each kind by name: plain, with failures, sparse metrics, missed checks, an anchor."""
    batches = {
        "checks_success": [_http("main/shop", 0), _http("main/blog", 1)],
        "checks_failures": [
            _http("main/shop", 0, Outcome.FAILURE, FailureReason.HTTP_STATUS, "502, expected 200-299", status=502),
            _unreached(FailureReason.TIMEOUT, {"dns": 1_200, "connect": 9_998_800}),
            _unreached(FailureReason.DNS_ERROR, {}, address=None),
        ],
        "checks_sparse_metrics": [_http("main/shop", 0), _tls(), _host()],
        "checks_missed": [_missed(reason) for reason in MissedReason],
        "checks_anchor": [_http("_anchor/paris", 0)],
    }
    packed: dict[str, CheckMessage] = {name: pack(checks, producer="paris-1") for name, checks in batches.items()}
    return packed | {
        "clock": ClockTick(v=VERSION, partition=3, at_us=TICK_US),
        "stopped": ProducerStopped(v=VERSION, producer="paris-1", location="paris", at_us=TICK_US),
        "health": ProducerHealth(
            v=VERSION,
            producer="paris-1",
            location="paris",
            at_us=TICK_US,
            started_at_us=TICK_US - 3_600_000_000,
            loop_lag_us=2_400,
            spool_bytes=1_048_576,
            spool_records=12,
            spool_dropped=0,
            checks=7_200,
            missed=3,
        ),
    }


def _http(
    target: str,
    number: int,
    outcome: Outcome = Outcome.SUCCESS,
    reason: str | None = None,
    detail: str | None = None,
    *,
    status: int = 200,
) -> Check:
    return Check(
        target=target,
        probe="http",
        kind="http",
        location="paris",
        scheduled_at_us=TICK_US + number * 1_000,
        started_at_us=TICK_US + number * 1_000 + 350,
        duration_us=81_250 + number,
        outcome=outcome,
        reason=reason,
        detail=detail,
        address="192.0.2.10",
        http_status=status,
        phases={"dns": 1_100, "connect": 9_000, "tls": 21_000, "wait": 48_000, "transfer": 2_150},
    )


def _unreached(reason: FailureReason, phases: Mapping[str, int], *, address: str | None = "192.0.2.11") -> Check:
    return Check(
        target=f"main/{reason.value.replace('_', '-')}",
        probe="http",
        kind="http",
        location="paris",
        scheduled_at_us=TICK_US,
        started_at_us=TICK_US + 410,
        duration_us=10_000_000,
        outcome=Outcome.FAILURE,
        reason=reason,
        detail="no answer within 10 s",
        address=address,
        phases=phases,
        disturbed=reason is FailureReason.TIMEOUT,
    )


def _tls() -> Check:
    return Check(
        target="main/shop",
        probe="certificate",
        kind="tls",
        location="paris",
        scheduled_at_us=TICK_US,
        started_at_us=TICK_US + 500,
        duration_us=30_000,
        outcome=Outcome.SUCCESS,
        address="192.0.2.10",
        phases={"dns": 1_000, "connect": 9_000, "tls": 20_000},
        metrics={"tls_days_left": 8.97},
    )


def _host() -> Check:
    return Check(
        target="main/db-1",
        probe="host",
        kind="host",
        location="paris",
        scheduled_at_us=TICK_US,
        started_at_us=TICK_US + 90,
        duration_us=1_500,
        outcome=Outcome.SUCCESS,
        metrics={"disk_free_ratio:/": 0.41, "memory_used_ratio": 0.63, "cpu_used_ratio": 0.07},
    )


def _missed(reason: MissedReason) -> Check:
    return Check(
        target="main/shop",
        probe=f"http-{reason.value.replace('_', '-')}",
        kind="http",
        location="paris",
        scheduled_at_us=TICK_US,
        started_at_us=TICK_US + 30_000_000,
        duration_us=None,
        outcome=Outcome.MISSED,
        reason=reason,
    )
