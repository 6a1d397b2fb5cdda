"""What a verdict says of a subject, and the one line that a person reads."""

from collections import Counter

import msgspec
import pytest

from streams.contract import SERVICE, VERSION, Reason, Verdict, VerdictName
from streams.core.incidents.cause import outage_cause, silence_cause, trouble_cause, warning_cause
from streams.core.incidents.findings import (
    FAILURES_LINGER_US,
    LINGERS_INTERVALS,
    Hold,
    forecast_findings,
    service_finding,
)
from streams.core.incidents.landscape import Seen
from streams.core.incidents.signs import Sign
from streams.core.words import instant, names, span

SINCE_US = 1_795_341_605_000_000
SINCE = "2026-11-22 10:00:05 UTC"


def reason(kind: str, text: str = "x", **fields: object) -> Reason:
    """A reason of the service, unless `subject` says otherwise."""
    values = {"kind": kind, "subject": SERVICE, "text": text, "probe": "http", "since_us": SINCE_US, **fields}
    return Reason(**values)  # type: ignore[arg-type]


def verdict(name: VerdictName, *reasons: Reason, reported: str = "ams fra nyc", failed: str = "") -> Verdict:
    """A verdict of shop/web at SINCE_US + 60 s."""
    return Verdict(
        v=VERSION,
        id="1",
        target="shop/web",
        tick_us=SINCE_US + 60_000_000,
        verdict=name,
        previous="healthy",
        changed=True,
        since_us=SINCE_US,
        interval_us=30_000_000,
        lateness_us=60_000_000,
        reported=reported.split(),
        failed=failed.split(),
        reasons=list(reasons),
    )


def seen(**fields: object) -> Seen:
    """What is known of shop/web."""
    values = {
        "verdict": "degraded",
        "tick_us": SINCE_US,
        "interval_us": 30_000_000,
        "reported": ("ams", "fra"),
        "failing": {},
        "silent": {},
        "address": "192.0.2.1",
        "failure": None,
        **fields,
    }
    return Seen(**values)  # type: ignore[arg-type]


LATENCY = reason("latency_level", metric="latency", locations=["ams"])
SLOW_AT_TWO = reason("latency_level", metric="latency", locations=["ams", "fra"])
SLOW_AT_ALL = reason("latency_level", metric="latency", locations=["ams", "fra", "nyc"])
PARTIAL = reason("partial_failure", failure="timeout", locations=["ams"])
RATIO = reason("failure_ratio", metric="failure_ratio", locations=["ams"])
DISK = reason("forecast", subject="disk_free_ratio", metric="disk_free_ratio")
MISSED = reason("missed", severity="info")
SILENCE = reason("silence", severity="warning", locations=["ams"])
SOME_SILENT = reason("silence", severity="info", locations=["ams"])


@pytest.mark.parametrize(
    ("which", "sign"),
    [
        (verdict("healthy"), Sign.HEALTHY),
        (verdict("healthy", SOME_SILENT), Sign.HEALTHY),
        (verdict("unknown", SILENCE, reported=""), Sign.UNKNOWN),
        (verdict("unknown", MISSED, reported=""), Sign.UNKNOWN),
        (verdict("degraded", LATENCY), Sign.DEGRADED),
        (verdict("degraded", PARTIAL, failed="ams"), Sign.PARTIAL),
        (verdict("degraded", PARTIAL, LATENCY, failed="ams"), Sign.DEGRADED),
        (verdict("degraded", RATIO), Sign.DEGRADED),
        (verdict("degraded", DISK), Sign.HEALTHY),
        (verdict("degraded", DISK, SOME_SILENT), Sign.HEALTHY),
        (verdict("degraded", DISK, MISSED), Sign.UNKNOWN),
        (verdict("degraded", DISK, SILENCE), Sign.UNKNOWN),
        (verdict("failing", reason("failing"), failed="ams fra"), Sign.FAILING),
    ],
)
def test_what_a_verdict_says_of_the_service(which: Verdict, sign: Sign) -> None:
    """A forecast alone leaves the service healthy, but not where its own probe is unseen."""
    finding, held = service_finding(which, {})
    assert (finding.sign, held) == (sign, False)


@pytest.mark.parametrize(
    ("which", "sign", "held"),
    [
        (verdict("failing", reason("failing"), reported="ams", failed="ams"), Sign.UNKNOWN, True),
        (verdict("failing", reason("failing"), failed="ams fra"), Sign.FAILING, False),
        (verdict("failing", reason("failing"), failed="ams fra", reported="ams fra"), Sign.FAILING, False),
        (verdict("degraded", PARTIAL, failed="ams"), Sign.HEALTHY, True),
        (verdict("degraded", PARTIAL, failed="ams", reported="ams"), Sign.UNKNOWN, True),
        (verdict("degraded", PARTIAL, RATIO, LATENCY, failed="ams"), Sign.HEALTHY, True),
        (verdict("degraded", SLOW_AT_ALL), Sign.DEGRADED, False),
        (verdict("degraded", SLOW_AT_TWO), Sign.HEALTHY, True),  # nyc sees it well, as of the trusted ones only fra
        (verdict("degraded", SLOW_AT_TWO, reported="ams fra"), Sign.DEGRADED, False),
        (verdict("degraded", LATENCY), Sign.HEALTHY, True),
        (verdict("degraded", LATENCY, reported="ams"), Sign.UNKNOWN, True),
        (verdict("degraded", reason("metric_level", metric="load", locations=["ams"])), Sign.DEGRADED, False),
        (verdict("degraded", reason("partial_failure"), failed="fra"), Sign.PARTIAL, False),
        (verdict("healthy"), Sign.HEALTHY, False),
    ],
)
def test_what_a_location_in_trouble_says_is_not_taken(which: Verdict, sign: Sign, held: bool) -> None:
    """With ams in trouble: well where another location sees it well, else unknown; what others say stands."""
    finding, is_held = service_finding(which, {"ams": [Hold(SINCE_US - 1)]})
    assert (finding.sign, is_held) == (sign, held)


def test_what_failed_before_the_trouble_is_taken() -> None:
    """It failed for a reason of its own."""
    failing = verdict("failing", reason("failing"), reported="ams", failed="ams")
    assert service_finding(failing, {"ams": [Hold(SINCE_US + 1)]})[0].sign is Sign.FAILING


def test_what_was_slow_long_before_the_trouble_is_taken() -> None:
    """The network may be slow for ten minutes before it loses checks, not for longer."""
    early = verdict("degraded", LATENCY, reported="ams")
    minutes_us = 60_000_000
    assert service_finding(early, {"ams": [Hold(SINCE_US + 10 * minutes_us)]})[0].sign is Sign.UNKNOWN
    assert service_finding(early, {"ams": [Hold(SINCE_US + 10 * minutes_us + 1)]})[0].sign is Sign.DEGRADED


@pytest.mark.parametrize("which", [LATENCY, RATIO])
@pytest.mark.parametrize(
    ("from_us", "until_us", "sign"),
    [
        (SINCE_US - 1, SINCE_US, Sign.UNKNOWN),
        (SINCE_US - 1, SINCE_US - 1, Sign.DEGRADED),  # it began after the trouble
    ],
)
def test_what_detectors_remember_of_a_trouble_that_has_ended_is_the_locations_too(
    which: Reason, from_us: int, until_us: int, sign: Sign
) -> None:
    """As long as they remember, and only if it began then; what fails at this very tick is the target's."""
    holds = {"ams": [Hold(from_us, until_us)]}
    assert service_finding(verdict("degraded", which, reported="ams"), holds)[0].sign is sign
    now = verdict("degraded", PARTIAL, failed="ams")
    assert service_finding(now, holds)[0].sign is Sign.PARTIAL
    failing = verdict("failing", reason("failing"), reported="ams", failed="ams")
    assert service_finding(failing, holds)[0].sign is Sign.FAILING


@pytest.mark.parametrize(
    ("metric", "lasts_us"), [("latency", LINGERS_INTERVALS * 30_000_000), ("failure_ratio", FAILURES_LINGER_US)]
)
@pytest.mark.parametrize(("later_us", "sign"), [(0, Sign.UNKNOWN), (1, Sign.DEGRADED)])
def test_a_trouble_is_remembered_for_so_long_and_no_longer(
    metric: str, lasts_us: int, later_us: int, sign: Sign
) -> None:
    """What still deviates then is the target's; failures are remembered for longer than slowness."""
    tick_us = SINCE_US + 60_000_000
    until_us = tick_us - lasts_us - later_us
    which = reason(metric, metric=metric, locations=["ams"], since_us=until_us - 1)
    holds = {"ams": [Hold(until_us - 10, until_us)]}
    assert service_finding(verdict("degraded", which, reported="ams"), holds)[0].sign is sign


@pytest.mark.parametrize(
    ("which", "sign"),
    [
        (verdict("degraded", DISK), Sign.DEGRADED),
        (verdict("failing", DISK, failed="ams fra"), Sign.DEGRADED),
        (verdict("healthy"), Sign.HEALTHY),
        (verdict("degraded", LATENCY), Sign.HEALTHY),
        (verdict("failing", failed="ams fra"), Sign.UNKNOWN),
        (verdict("unknown", reported=""), Sign.UNKNOWN),
    ],
)
def test_what_a_verdict_says_of_a_forecast(which: Verdict, sign: Sign) -> None:
    """Without its reason it is well, but not while the target fails or is unknown."""
    assert forecast_findings(which, ["disk_free_ratio"])["disk_free_ratio"].sign is sign


def test_the_cause_of_a_warning_is_the_reasons_text_and_since_when() -> None:
    """The numbers are said once; what the text lacks is added."""
    text = "latency 412 ms, normally 35 ms (11.8×)"
    full = f"{text}, in the wait phase at ams and fra, since {SINCE}"
    assert warning_cause([reason("latency_level", text, phase="wait", locations=["fra", "ams"])], SINCE_US) == full
    assert warning_cause([reason("latency_level", full, phase="wait", locations=["ams"])], SINCE_US) == full


def test_the_cause_of_a_warning_names_all_reasons_and_the_time_left() -> None:
    """One line for all."""
    reasons = [reason("a", "this"), reason("b", "that", time_left_us=7_200_000_000), reason("c", "this")]
    assert warning_cause(reasons, SINCE_US) == f"this; that, 2 h left, since {SINCE}"


def test_the_cause_of_a_warning_without_a_text_comes_from_the_fields() -> None:
    """Never empty."""
    bare = reason("metric_level", "", metric="cpu_load", value=3.5, baseline=0.5)
    assert warning_cause([bare], SINCE_US) == f"cpu_load 3.5, normally 0.5, since {SINCE}"


def test_the_cause_of_an_outage() -> None:
    """What, where, since when; a text that says it all is left alone."""
    assert (
        outage_cause([reason("failing", "failing: timeout")], ["ams"], SINCE_US)
        == f"failing: timeout at ams, since {SINCE}"
    )
    whole = f"failing: timeout at ams (1 of 1 locations), since {SINCE}"
    assert outage_cause([LATENCY, reason("failing", whole)], ["ams"], SINCE_US) == whole
    assert outage_cause([], ["ams"], SINCE_US) == f"failing at ams, since {SINCE}"


def test_the_cause_of_a_location() -> None:
    """Trouble by the anchor, trouble by targets, silence."""
    anchor = trouble_cause(
        "ams", targets=[], addresses=0, failures=Counter(), since_us=SINCE_US, anchor=True, blind=True
    )
    assert anchor == (
        f"location ams is in trouble: its anchor check fails, since {SINCE}; "
        "no other location works, so nobody sees anything"
    )
    assert silence_cause(["ams"], targets=["shop/web"], unseen=0, since_us=SINCE_US) == (
        f"no checks from location ams for 1 target (shop/web) since {SINCE}"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        (["b"], "b"),
        (["b", "a", "b"], "a and b"),
        (["c", "b", "a"], "a, b and c"),
        (list("fedcba"), "a, b, c and 3 more"),
    ],
)
def test_names(values: list[str], text: str) -> None:
    """In order, each once, many by count."""
    assert names(values) == text


@pytest.mark.parametrize(
    ("duration_us", "text"),
    [
        (-5, "0 s"),
        (40_000_000, "40 s"),
        (5_700_000_000, "95 min"),
        (25_200_000_000, "7 h"),
        (777_600_000_000, "9 days"),
    ],
)
def test_spans(duration_us: int, text: str) -> None:
    """As a person says them."""
    assert span(duration_us) == text


def test_an_instant_that_no_calendar_holds_is_shown_as_its_number() -> None:
    """A cause never fails."""
    assert instant(SINCE_US) == SINCE
    assert instant(2**61) == f"{2**61} µs"


def test_two_locations_in_trouble_answer_each_for_the_failures_since_its_own_began() -> None:
    """Ams fails for an hour, fra since a minute: the target fails since an hour, and both are in trouble."""
    holds = {"ams": [Hold(SINCE_US - 10)], "fra": [Hold(SINCE_US + 3_600_000_000)]}
    failing = verdict("failing", reason("failing"), reported="ams fra", failed="ams fra")
    since_us = {"ams": SINCE_US, "fra": SINCE_US + 3_600_000_000}
    assert service_finding(failing, holds, seen(failing=since_us))[0].sign is Sign.UNKNOWN
    assert service_finding(failing, holds, seen(failing=since_us | {"fra": SINCE_US}))[0].sign is Sign.FAILING


HOUR_US = 3_600_000_000


@pytest.mark.parametrize("until_us", [None, SINCE_US + HOUR_US + 2])
@pytest.mark.parametrize(
    ("which", "told_us", "sign"),
    [
        (LATENCY, SINCE_US + HOUR_US + 1, Sign.UNKNOWN),
        (RATIO, SINCE_US + HOUR_US + 1, Sign.UNKNOWN),
        (LATENCY, SINCE_US + 60_000_000, Sign.DEGRADED),
    ],
)
def test_what_is_told_only_in_a_trouble_is_its_locations(
    which: Reason, told_us: int, sign: Sign, until_us: int | None
) -> None:
    """Sums that began long before become news by what the trouble adds; what was told before is the target's."""
    one = msgspec.structs.replace(verdict("degraded", which, reported="ams"), tick_us=SINCE_US + HOUR_US + 60_000_000)
    holds = {"ams": [Hold(SINCE_US + HOUR_US, until_us)]}
    assert service_finding(one, holds, seen(told={which.kind: told_us}))[0].sign is sign


@pytest.mark.parametrize(
    ("since_us", "told_us", "sign"),
    [
        (SINCE_US, SINCE_US + HOUR_US, Sign.UNKNOWN),  # fra alone was slow, ams saw it well then
        (SINCE_US, SINCE_US + 1, Sign.DEGRADED),  # both said so before
        (SINCE_US + HOUR_US, SINCE_US + HOUR_US, Sign.DEGRADED),  # it began in the trouble: only fra can know
    ],
)
def test_a_location_in_trouble_confirms_nothing(since_us: int, told_us: int, sign: Sign) -> None:
    """Of two that see it slow one is slow by its own network. The host's own probe has no vote."""
    slow = reason("latency_level", metric="latency", locations=["ams", "fra"], since_us=since_us)
    one = msgspec.structs.replace(
        verdict("degraded", slow, reported="ams fra on-web"), tick_us=SINCE_US + HOUR_US + 60_000_000
    )
    found, _ = service_finding(one, {"ams": [Hold(SINCE_US + HOUR_US)]}, seen(told={slow.kind: told_us}), {"on-web"})
    assert found.sign is sign


@pytest.mark.parametrize(
    ("silent_us", "told_us", "sign"),
    [(SINCE_US + 2, SINCE_US + 3, Sign.UNKNOWN), (SINCE_US + 2, SINCE_US + 1, Sign.DEGRADED), (0, 3, Sign.DEGRADED)],
)
def test_a_location_that_falls_silent_confirms_nothing(silent_us: int, told_us: int, sign: Sign) -> None:
    """Fra is slow, ams saw the target well and is silent now; not if it was told before, or ams silent before."""
    slow = reason("latency_level", metric="latency", locations=["fra"])
    known = seen(silent={"ams": silent_us}, told={slow.kind: told_us})
    assert service_finding(verdict("degraded", slow, reported="fra"), {}, known)[0].sign is sign


def test_flaps_of_a_time_in_which_a_location_was_in_trouble_are_not_the_targets() -> None:
    """With one location out, each lost check of another one makes the target look down."""
    flaps = reason("flapping", locations=["ams", "fra"])
    holds = {"ams": [Hold(SINCE_US - 1, SINCE_US + 1)]}
    assert service_finding(verdict("degraded", flaps), holds)[0].sign is Sign.HEALTHY
    assert (
        service_finding(verdict("degraded", flaps), {"ams": [Hold(SINCE_US - 9, SINCE_US - 1)]})[0].sign
        is Sign.DEGRADED
    )


def test_single_failures_elsewhere_do_not_make_a_locations_losses_the_targets() -> None:
    """Ams loses checks; fra lost one, nyc none. With fra and nyc failing too it is the target."""
    holds = {"ams": [Hold(SINCE_US - 1)]}
    for places, sign in (("ams fra", Sign.HEALTHY), ("ams fra nyc", Sign.DEGRADED)):
        ratio = reason("failure_ratio", metric="failure_ratio", locations=places.split())
        assert service_finding(verdict("degraded", ratio), holds)[0].sign is sign


def test_of_several_troubles_any_answers_for_its_own_time() -> None:
    """The second one does not make the first one forgotten."""
    holds = {"ams": [Hold(SINCE_US - 1, SINCE_US + 1), Hold(SINCE_US + 20_000_000, SINCE_US + 30_000_000)]}
    assert service_finding(verdict("degraded", RATIO, reported="ams"), holds)[0].sign is Sign.UNKNOWN


def test_a_location_that_loses_checks_explains_so_many_failures_in_a_row() -> None:
    """The tick is two intervals after the first failure: the third in a row."""
    failing = verdict("failing", reason("failing"), reported="ams", failed="ams")
    for run, sign in ((3, Sign.UNKNOWN), (2, Sign.FAILING)):
        assert service_finding(failing, {"ams": [Hold(SINCE_US - 1, run=run)]})[0].sign is sign
