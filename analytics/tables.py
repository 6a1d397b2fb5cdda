"""The store's base tables as the writers see them: names, identities, columns as Arrow types.

`analytics/migrations/` creates them; a test compares both. One rule for names and types:

- An instant of the wire (`X_at_us`, or `tick_us`, `since_us`, ...) is the column `X_at`, DateTime64(6, 'UTC'),
  exact to the microsecond. A duration keeps its name `X_us` and is Int64. Every whole number is Int64.
- Analysts read the views, which have the plain names and final rows; base tables end with `_log`.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from producers.contract import PHASES

INSTANT: Final = pa.timestamp("us", tz="UTC")
TEXT: Final = pa.string()
WHOLE: Final = pa.int64()
NUMBER: Final = pa.float64()
TEXTS: Final = pa.list_(TEXT)
READINGS: Final = pa.map_(TEXT, NUMBER)
REASON: Final = pa.struct(
    [
        ("kind", TEXT),
        ("subject", TEXT),
        ("text", TEXT),
        ("probe", TEXT),
        ("since_at", INSTANT),
        ("severity", TEXT),
        ("locations", TEXTS),
        ("metric", TEXT),
        ("value", NUMBER),
        ("baseline", NUMBER),
        ("limit", NUMBER),
        ("score", NUMBER),
        ("phase", TEXT),
        ("failure", TEXT),
        ("time_left_us", WHOLE),
    ]
)

STORED_AT: Final = "stored_at"
"""The column that stamps an insert: all rows of one insert have one instant."""

_POSITION: Final = (("log_epoch", TEXT), ("log_partition", WHOLE), ("log_offset", WHOLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A base table.

    Attributes:
        name: With its suffix `_log`.
        identity: Its sorting key: rows that agree in it replace each other.
        columns: Names and Arrow types in the order of the table, without STORED_AT.
        ttl: The column that a row's age counts from, and which setting says how old it may get; None: for ever.
    """

    name: str
    identity: tuple[str, ...]
    columns: tuple[tuple[str, Any], ...]
    ttl: tuple[str, Literal["checks_ttl_days", "summaries_ttl_days"]] | None = None

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows before they are stamped."""
        return pa.schema(list(self.columns))

    @property
    def view(self) -> str:
        """Name of the view of final rows."""
        return _VIEWS.get(self.name, self.name.removesuffix("_log"))


_VIEWS: Final = {"incidents_log": "incident_revisions", "check_hours_touched_log": "check_hours_waiting"}

CHECKS: Final = Table(
    name="checks_log",
    identity=("target", "probe", "location", "scheduled_at"),
    columns=(
        ("target", TEXT),
        ("probe", TEXT),
        ("location", TEXT),
        ("scheduled_at", INSTANT),
        ("version", WHOLE),
        ("kind", TEXT),
        ("outcome", TEXT),
        ("reason", TEXT),
        ("duration_us", WHOLE),
        *((f"phase_{phase}_us", WHOLE) for phase in PHASES),
        ("address", TEXT),
        ("http_status", WHOLE),
        ("detail", TEXT),
        ("metrics", READINGS),
        ("disturbed", pa.bool_()),
        ("producer", TEXT),
        *_POSITION,
    ),
    ttl=("scheduled_at", "checks_ttl_days"),
)

DEVIATIONS: Final = Table(
    name="deviations_log",
    identity=("target", "tick_at", "id"),
    columns=(
        ("target", TEXT),
        ("tick_at", INSTANT),
        ("id", TEXT),
        ("probe", TEXT),
        ("location", TEXT),
        ("metric", TEXT),
        ("detector", TEXT),
        ("since_at", INSTANT),
        ("active", pa.bool_()),
        ("score", NUMBER),
        ("value", NUMBER),
        ("baseline", NUMBER),
        ("limit", NUMBER),
        ("phase", TEXT),
        ("time_left_us", WHOLE),
        ("time_left_upper_us", WHOLE),
        *_POSITION,
    ),
)

VERDICTS: Final = Table(
    name="verdicts_log",
    identity=("target", "tick_at", "id"),
    columns=(
        ("target", TEXT),
        ("tick_at", INSTANT),
        ("id", TEXT),
        ("verdict", TEXT),
        ("previous", TEXT),
        ("changed", pa.bool_()),
        ("since_at", INSTANT),
        ("interval_us", WHOLE),
        ("lateness_us", WHOLE),
        ("reported", TEXTS),
        ("failed", TEXTS),
        ("address", TEXT),
        ("reasons", pa.list_(REASON)),
        *_POSITION,
    ),
)

VERDICT_SUMMARIES: Final = Table(
    name="verdict_summaries_log",
    identity=("slot_at", "checks_partition"),
    columns=(
        ("slot_at", INSTANT),
        ("checks_partition", WHOLE),
        ("id", TEXT),
        ("width_us", WHOLE),
        ("closed_through_at", INSTANT),
        ("locations", TEXTS),
        ("reported", pa.list_(WHOLE)),
        ("failed", pa.list_(WHOLE)),
        *_POSITION,
    ),
    ttl=("slot_at", "summaries_ttl_days"),
)

INCIDENTS: Final = Table(
    name="incidents_log",
    identity=("incident_id", "revision"),
    columns=(
        ("incident_id", TEXT),
        ("revision", WHOLE),
        ("id", TEXT),
        ("effect", TEXT),
        ("target", TEXT),
        ("location", TEXT),
        ("subject", TEXT),
        ("kind", TEXT),
        ("severity", TEXT),
        ("page", pa.bool_()),
        ("cause", TEXT),
        ("began_at", INSTANT),
        ("opened_at", INSTANT),
        ("updated_at", INSTANT),
        ("warned_at", INSTANT),
        ("outage_at", INSTANT),
        ("resolved_at", INSTANT),
        ("locations", TEXTS),
        ("reasons", pa.list_(REASON)),
        ("caused_by", TEXT),
        ("related", TEXTS),
        *_POSITION,
    ),
)

ALERTS: Final = Table(
    name="alerts_log",
    identity=("incident_id", "id"),
    columns=(
        ("incident_id", TEXT),
        ("id", TEXT),
        ("kind", TEXT),
        ("number", WHOLE),
        ("channel", TEXT),
        ("page", pa.bool_()),
        ("at", INSTANT),
        ("delivered", pa.bool_()),
        ("attempts", WHOLE),
        ("title", TEXT),
        ("text", TEXT),
        ("error", TEXT),
        ("stage", TEXT),
        *_POSITION,
    ),
)

ACTIONS: Final = Table(
    name="actions_log",
    identity=("at", "id"),
    columns=(
        ("at", INSTANT),
        ("id", TEXT),
        ("kind", TEXT),
        ("person", TEXT),
        ("incident_id", TEXT),
        ("target", TEXT),
        ("until_at", INSTANT),
        ("text", TEXT),
        ("config_version", WHOLE),
        ("effective_from_at", INSTANT),
        *_POSITION,
    ),
)

CONFIG_VERSIONS: Final = Table(
    name="config_versions_log",
    identity=("config_version", "checksum"),
    columns=(
        ("config_version", WHOLE),
        ("checksum", TEXT),
        ("effective_from_at", INSTANT),
        ("accepted_at", INSTANT),
        ("person", TEXT),
        ("text", TEXT),
        *_POSITION,
    ),
)

DEAD_LETTERS: Final = Table(
    name="dead_letters_log",
    identity=("id",),
    columns=(
        ("id", TEXT),
        ("source_topic", TEXT),
        ("source_epoch", TEXT),
        ("source_partition", WHOLE),
        ("source_offset", WHOLE),
        ("source_logged_at", INSTANT),
        ("reason", TEXT),
        ("detail", TEXT),
        ("group_name", TEXT),
        ("at", INSTANT),
        ("payload", TEXT),
        ("payload_bytes", WHOLE),
        ("source_key", TEXT),
        *_POSITION,
    ),
    ttl=("at", "summaries_ttl_days"),
)

DEAD_LETTER_REPLAYS: Final = Table(
    name="dead_letter_replays_log",
    identity=("dead_letter_id", "replayed_at"),
    columns=(
        ("dead_letter_id", TEXT),
        ("replayed_at", INSTANT),
        ("person", TEXT),
        ("edited", pa.bool_()),
        ("payload_bytes", WHOLE),
        ("checksum", TEXT),
    ),
    ttl=("replayed_at", "summaries_ttl_days"),
)

PRODUCER_HEALTH: Final = Table(
    name="producer_health_log",
    identity=("producer", "location", "at"),
    columns=(
        ("producer", TEXT),
        ("location", TEXT),
        ("at", INSTANT),
        ("started_at", INSTANT),
        ("loop_lag_us", WHOLE),
        ("spool_bytes", WHOLE),
        ("spool_records", WHOLE),
        ("spool_dropped", WHOLE),
        ("checks", WHOLE),
        ("missed", WHOLE),
        *_POSITION,
    ),
    ttl=("at", "summaries_ttl_days"),
)

PRODUCER_STOPS: Final = Table(
    name="producer_stops_log",
    identity=("producer", "location", "at"),
    columns=(("producer", TEXT), ("location", TEXT), ("at", INSTANT), *_POSITION),
    ttl=("at", "summaries_ttl_days"),
)

HOURS_TOUCHED: Final = Table(
    name="check_hours_touched_log",
    identity=("checks_partition", "hour_at", "target", "touched_at"),
    columns=(
        ("checks_partition", WHOLE),
        ("hour_at", INSTANT),
        ("target", TEXT),
        ("touched_at", INSTANT),
        ("done", WHOLE),
    ),
)

LOG_TABLES: Final = (
    *(CHECKS, DEVIATIONS, VERDICTS, VERDICT_SUMMARIES, INCIDENTS, ALERTS),
    *(ACTIONS, CONFIG_VERSIONS, DEAD_LETTERS, PRODUCER_HEALTH, PRODUCER_STOPS),
)
"""What the sink fills from the log."""
