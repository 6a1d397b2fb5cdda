"""Logs, metrics, /healthz and /metrics of every process.

All metric names are in this file, with what they count, so that a dashboard is written from one page. Labels
are few and bounded: never a target's name.
"""

import logging
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from aiohttp import web
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from producers.errors import ForewarnError
from producers.masking import MASK, mask_text

# --- Producers
CHECKS = Counter("forewarn_checks_total", "Checks done, by outcome.", ["location", "outcome"])
CHECKS_MISSED = Counter("forewarn_checks_missed_total", "Ticks that were not run, by why.", ["location", "reason"])
CHECKS_RUNNING = Gauge("forewarn_checks_running", "Checks under way now.", ["location"])
CHECK_DELAY = Histogram(
    "forewarn_check_delay_seconds",
    "From the tick until the check really began.",
    ["location"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 30),
)
EVENT_LOOP_LAG = Gauge("forewarn_event_loop_lag_seconds", "Largest lag of the event loop in the last second.")

# --- Outboxes (a producer's is called its spool)
SPOOL_BYTES = Gauge("forewarn_spool_bytes", "Size of the outbox on disk.", ["outbox"])
SPOOL_RECORDS = Gauge("forewarn_spool_records", "Messages in the outbox that are not safe yet.", ["outbox"])
SPOOL_DROPPED = Counter("forewarn_spool_dropped_total", "Messages dropped at the outbox's bound: LOST.", ["outbox"])
SPOOL_REFUSED = Counter(
    "forewarn_spool_refused_total", "Messages that the log refuses for good: set aside.", ["outbox"]
)
SPOOL_ERRORS = Counter("forewarn_spool_errors_total", "Writes that failed (disk full).", ["outbox"])
SPOOL_DAMAGED = Counter("forewarn_spool_damaged_total", "Damaged places found at start.", ["outbox", "place"])
PUBLISHED = Counter("forewarn_published_messages_total", "Messages that the broker acknowledged.", ["outbox"])
PUBLISH_ERRORS = Counter("forewarn_publish_errors_total", "Publications that failed and are retried.", ["outbox"])
LAST_ACKNOWLEDGED = Gauge("forewarn_last_acknowledged_seconds", "Unix time of the last one.", ["outbox"])

# --- Stream workers
CONSUMER_LAG = Gauge("forewarn_consumer_lag_messages", "Messages not read yet.", ["group", "topic", "partition"])
CONSUMER_DELAY = Gauge(
    "forewarn_consumer_delay_seconds", "Age of the message at hand; 0 where all is read: ALARM if high.", ["group"]
)
EVENTS = Counter("forewarn_events_total", "Messages read, redeliveries included.", ["group", "topic"])
CHECKS_JUDGED = Counter("forewarn_checks_judged_total", "Checks that the core took.", ["partition"])
CHECKS_LATE = Counter("forewarn_checks_late_total", "Checks after their tick was closed.", ["partition"])
CHECKS_REDELIVERED = Counter("forewarn_checks_redelivered_total", "Checks seen before.", ["partition"])
DEAD_LETTERS = Counter("forewarn_dead_letters_total", "Messages that could not be used.", ["group", "reason"])
SNAPSHOTS = Counter("forewarn_snapshot_total", "Snapshots, by what became of them.", ["group", "outcome"])
SNAPSHOT_BYTES = Gauge("forewarn_snapshot_bytes", "Size of the last one.", ["group", "partition"])
SNAPSHOT_SECONDS = Histogram("forewarn_snapshot_seconds", "Time to keep one.", ["group"])
SNAPSHOT_PAUSE_SECONDS = Histogram(
    "forewarn_snapshot_pause_seconds",
    "For how long messages wait while one is cut.",
    ["group"],
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
PARTITIONS_INCOMPLETE = Gauge(
    "forewarn_partitions_incomplete", "Partitions that are halted, or judged provisionally: ALARM.", ["group", "how"]
)
COMMITS = Counter("forewarn_commits_total", "Offsets committed to the log.", ["group", "outcome"])
REREADS = Counter("forewarn_rereads_total", "Times that the client skipped messages and went back to them.", ["topic"])
INCIDENTS_OPEN = Gauge("forewarn_incidents_open", "Open incidents, by their highest stage.", ["kind"])
ALERTS = Counter(
    "forewarn_alerts_total", "Alerts, by channel and delivered, retried, given_up.", ["channel", "outcome"]
)

# --- One machine (`forewarn up`)
CHILD_RUNNING = Gauge("forewarn_child_running", "1 while a process of the installation lives.", ["child"])
CHILD_RESTARTS = Gauge("forewarn_child_restarts", "How often it was started again.", ["child"])

# --- Store
ROWS_STORED = Counter("forewarn_rows_stored_total", "Rows that the store answered for.", ["table"])
STORE_ERRORS = Counter("forewarn_store_errors_total", "Inserts and queries that failed.", ["what"])
ROLLUPS = Counter("forewarn_rollups_total", "Hours of targets whose rollup was computed.")
ROLLUPS_WAITING = Gauge("forewarn_rollups_waiting", "Hours of targets that are over and not computed.")
WATCHDOG_PINGS = Counter("forewarn_watchdog_pings_total", "Dead-man's pings: sent, withheld, failed.", ["outcome"])
STORE_INSERT_SECONDS = Histogram("forewarn_store_insert_seconds", "Time of one insert.", ["table"])

SLOW_TO_SHOW: Final = frozenset(
    {"kafka", "aiokafka", "asyncio", "aiohttp.access", "httpx", "httpcore", "urllib3", "clickhouse_connect"}
)

_SECRET_KEY: Final = re.compile(r"passw|token|secret|authorization|api_?key|cookie", re.IGNORECASE)


def _mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask what must never be in a log, whoever logs it. The last step before rendering."""
    for key, value in event.items():
        if _SECRET_KEY.search(key) and value is not None:
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = mask_text(value)
        elif isinstance(value, BaseException):
            event[key] = mask_text(str(value))
    return event


def configure_logging(*, json: bool | None = None) -> None:
    """Send all logs of this process to stderr, one line an event.

    Args:
        json: JSON lines (True) or lines for a person (False); by default the latter on a terminal only.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a logger made at import follows a later configuration
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _mask_secrets, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in SLOW_TO_SHOW:
        # They repeat one outage a hundred times a minute; our own code says it once, with what to do.
        logging.getLogger(name).setLevel(logging.CRITICAL)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: `logger(__name__).info("what happened", key=value)`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


class Observation:
    """The HTTP server of /healthz and /metrics of one process.

    Attributes:
        port: That it listens on.
    """

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self.port = port
        self._runner = runner

    async def close(self) -> None:
        """Stop listening. Harmless when done twice."""
        await self._runner.cleanup()


Health = Callable[[], Mapping[str, object]]


async def serve_observation(host: str, port: int, health: Health) -> Observation:
    """Serve /healthz (200 or 503, JSON) and /metrics (Prometheus text) until `close`.

    Args:
        host: What to bind to.
        port: 0 takes a free one.
        health: Called for each request; `ok` decides between 200 and 503. If it fails, that is 503 too.

    Raises:
        ForewarnError: The port is taken, or the address is not ours.
    """
    app = web.Application()
    app.router.add_get("/healthz", _healthz(health))
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ForewarnError(
            f"cannot serve /healthz and /metrics on {host}:{port}: {error.strerror or error}"
        ) from error
    bound: int = runner.addresses[0][1]
    return Observation(runner, bound)


def _healthz(health: Health) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        try:
            state = dict(health())
        except Exception as error:  # noqa: BLE001 - unknown is never shown as healthy
            state = {"ok": False, "error": mask_text(f"{type(error).__name__}: {error}")}
        return web.json_response(state, status=200 if state.get("ok") is True else 503)

    return answer


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
