"""`forewarn report`: the monthly SLA report."""

import time
from pathlib import Path

from analytics.client import connect, store_errors
from analytics.report import make_report, render_html
from analytics.settings import ReportSettings, StoreSettings
from analytics.sla import month_period
from forewarn.errors import CommandError, UsageError
from forewarn.stderr import say


def report(store: StoreSettings, settings: ReportSettings, *, month: str, customer: str, out: Path | None) -> Path:
    """Write the report of a month.

    Args:
        month: `YYYY-MM`, in the settings' time zone.
        customer: Only this one's targets; empty for all.
        out: The file; `sla-<month>.html` in the current directory by default.

    Returns:
        Where it was written.

    Raises:
        UsageError: The month is none, or has not begun.
        CommandError: The file cannot be written.
    """
    try:
        period = month_period(month, settings.time_zone)
        with store_errors(store):
            made = make_report(
                connect(store),
                month=month,
                period=period,
                now_us=time.time_ns() // 1000,
                settings=settings,
                customer=customer,
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if customer and not made.targets:
        say(f"nothing of the customer {customer} was watched in {month}")
    path = out if out is not None else Path(f"sla-{month}{f'-{customer}' if customer else ''}.html")
    try:
        path.write_text(render_html(made), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    return path
