"""Which alerts are due: timelines of one incident, and the fold's independence of order."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract import SERVICE, VERSION, Action, Alert, Incident, Reason
from streams.core.alerting import text as alert_text
from streams.core.alerting.alerting import REMEMBERED_US, Alerting, Due
from streams.core.snapshot import unpack
from streams.policy import AlertPolicy, Channel
from streams.schemas.messages import INCIDENT, INCIDENT_ID, NOON_US

MINUTE_US = 60_000_000
PARTITIONS = 4
CHAT = Channel(name="chat", webhook_url="http://127.0.0.1/chat")
PHONE = Channel(name="phone", webhook_url="http://127.0.0.1/phone", pages=True)
POLICY = AlertPolicy(channels=(CHAT, PHONE), reminder_us=10 * MINUTE_US)


def revision(number: int, **changes: object) -> Incident:
    """Return a revision of the one incident."""
    told = {"revision": number, "id": f"{INCIDENT_ID}.{number}", "updated_at_us": NOON_US + number}
    told |= {"caused_by": None, "related": []} | changes
    return msgspec.structs.replace(INCIDENT, **told)


WARNING = revision(1)
OUTAGE = revision(2, kind="outage", effect="escalated", page=True, outage_at_us=NOON_US + 2)
RESOLVED = revision(
    3, kind="outage", effect="resolved", page=True, outage_at_us=NOON_US + 2, resolved_at_us=NOON_US + 20 * MINUTE_US
)
ACKNOWLEDGED = Action(v=VERSION, id="a1", kind="acknowledge", at_us=NOON_US, person="anna", incident_id=INCIDENT_ID)


def record(due: Due, at_us: int, *, delivered: bool = True) -> Alert:
    """Return what is published after a delivery."""
    return Alert(
        v=VERSION, id=due.key, incident_id=due.incident.incident_id, kind=due.kind, number=due.number,
        channel=due.channel, page=due.page, at_us=at_us, delivered=delivered, attempts=1, title=due.title,
        text=due.text, stage=due.incident.kind,
    )  # fmt: skip


@dataclass
class Story:
    """A fold, its channels, and what they were told, as `channel kind number`."""

    alerting: Alerting = field(default_factory=lambda: Alerting(POLICY, partitions=PARTITIONS))
    told: list[str] = field(default_factory=list)

    def send_all(self, minute: int, *, delivered: bool = True) -> list[str]:
        """Send what is due until nothing is; return what was sent now."""
        at_us = NOON_US + minute * MINUTE_US
        sent = []
        while due := [one for channel in POLICY.channels for one in self.alerting.due(channel, at_us)]:
            for one in due:
                sent.append(f"{one.channel} {one.kind} {one.number}")
                self.alerting.alert(record(one, at_us, delivered=delivered))
        self.told += sent
        return sent


def test_an_early_warning_that_becomes_an_outage_and_ends() -> None:
    """The chat is told at each step, the phone only from the step that pages; each once."""
    story = Story()
    story.alerting.incident(WARNING)
    assert story.send_all(1) == ["chat initial 0"]
    assert story.send_all(2) == []
    story.alerting.incident(OUTAGE)
    assert story.send_all(3) == ["chat escalation 0", "phone initial 0"]
    story.alerting.incident(RESOLVED)
    assert story.send_all(4) == ["chat resolved 0", "phone resolved 0"]
    assert story.send_all(100) == []


def test_reminders_until_somebody_acknowledges() -> None:
    """Every ten minutes of an open outage, numbered; none after the acknowledgement."""
    story = Story()
    story.alerting.incident(OUTAGE)
    assert story.send_all(1) == ["chat initial 0", "phone initial 0"]
    assert story.send_all(10) == []
    assert story.send_all(11) == ["chat reminder 1", "phone reminder 1"]
    assert story.send_all(21) == ["chat reminder 2", "phone reminder 2"]
    story.alerting.action(ACKNOWLEDGED)
    assert story.send_all(60) == []
    story.alerting.incident(RESOLVED)
    assert story.send_all(61) == ["chat resolved 0", "phone resolved 0"]


def test_an_early_warning_is_not_reminded_of() -> None:
    """Only an outage is told again."""
    story = Story()
    story.alerting.incident(WARNING)
    story.send_all(1)
    assert story.send_all(1000) == []


def test_what_was_over_before_the_start_is_not_told() -> None:
    """Neither that it began nor that it ended; what is open is."""
    story = Story()
    story.alerting.incident(WARNING)
    story.alerting.incident(RESOLVED)
    other = msgspec.structs.replace(WARNING, incident_id="open", id="open.1")
    story.alerting.incident(other)
    story.alerting.caught_up()
    due = story.alerting.due(CHAT, NOON_US + MINUTE_US)
    assert [one.incident.incident_id for one in due] == ["open"]


def test_what_was_told_before_the_start_is_not_told_again() -> None:
    """A worker that starts with the records reads only what is new in it."""
    before = Story()
    before.alerting.incident(OUTAGE)
    before.send_all(1)
    after = Story()
    after.alerting.restore(before.alerting.snapshot())
    after.alerting.caught_up()
    assert after.send_all(2) == []
    after.alerting.incident(RESOLVED)
    assert after.send_all(3) == ["chat resolved 0", "phone resolved 0"]


def test_nobody_is_woken_for_what_is_over() -> None:
    """An outage that ends while the phone could not be reached goes to the chat only."""
    story = Story()
    story.alerting.incident(OUTAGE)
    story.alerting.incident(RESOLVED)
    assert story.send_all(1) == ["chat initial 0", "chat resolved 0"]


def test_a_channel_that_got_nothing_gets_no_resolved_message() -> None:
    """What was given up is recorded and not followed by good news about unknown bad news."""
    story = Story()
    story.alerting.incident(WARNING)
    story.send_all(1, delivered=False)
    story.alerting.incident(RESOLVED)
    assert story.send_all(2) == []


def test_an_outage_is_told_again_to_a_channel_that_was_given_up() -> None:
    """It is still open, and the channel may be back."""
    story = Story()
    story.alerting.incident(OUTAGE)
    story.send_all(1, delivered=False)
    assert story.send_all(12) == ["chat reminder 1", "phone reminder 1"]


def test_an_old_revision_after_a_new_one_changes_nothing() -> None:
    """A redelivery does not reopen."""
    story = Story()
    for one in (WARNING, OUTAGE):
        story.alerting.incident(one)
    story.send_all(1)
    story.alerting.incident(RESOLVED)
    story.send_all(2)
    for one in (WARNING, OUTAGE, RESOLVED):
        story.alerting.incident(one)
    assert story.send_all(30) == []


def test_a_resolved_incident_is_remembered_for_a_week_of_events_and_then_forgotten() -> None:
    """The state does not grow for ever."""
    story = Story()
    story.alerting.incident(RESOLVED)
    story.send_all(1)
    later = {"incident_id": "later", "updated_at_us": NOON_US + REMEMBERED_US + 60 * MINUTE_US}
    story.alerting.incident(msgspec.structs.replace(WARNING, **later))
    meta, _ = unpack(story.alerting.snapshot())
    assert list(meta["state"]["cases"]) == ["later"]


@given(st.data())
def test_the_fold_does_not_depend_on_how_topics_interleave_nor_on_redeliveries(data: st.DataObject) -> None:
    """Any prefix order of the three topics, with repetitions, leaves the same things due."""
    records = []
    story = Story()
    for minute, one in ((1, WARNING), (3, OUTAGE)):
        story.alerting.incident(one)
        for channel in POLICY.channels:
            for due in story.alerting.due(channel, NOON_US + minute * MINUTE_US):
                records.append(record(due, NOON_US + minute * MINUTE_US))
                story.alerting.alert(records[-1])
    told = data.draw(st.integers(0, len(records)))
    expected = Alerting(POLICY, partitions=PARTITIONS)
    for one in (WARNING, OUTAGE):
        expected.incident(one)
    expected.action(ACKNOWLEDGED)
    for alert in records[:told]:
        expected.alert(alert)

    messages: list[Incident | Alert | Action] = [WARNING, OUTAGE, *records[:told], ACKNOWLEDGED]
    mixed = data.draw(st.permutations(messages + messages))
    found = Alerting(POLICY, partitions=PARTITIONS)
    for message in mixed:
        match message:
            case Incident():
                found.incident(message)
            case Alert():
                found.alert(message)
            case Action():
                found.action(message)
    at_us = NOON_US + 30 * MINUTE_US
    for channel in POLICY.channels:
        assert [one.key for one in found.due(channel, at_us)] == [one.key for one in expected.due(channel, at_us)]


def test_a_damaged_snapshot_is_refused_and_changes_nothing() -> None:
    """The state stays what it was."""
    story = Story()
    story.alerting.incident(OUTAGE)
    before = story.alerting.snapshot()
    with pytest.raises(ValueError, match="snapshot"):
        story.alerting.restore(before[:-3])
    assert story.alerting.snapshot() == before


def test_the_text_says_what_since_when_how_far_where_which_phase_and_how_long_is_left() -> None:
    """Both numbers, with their units."""
    watched = {("main/shop", "http"): "https://shop.example/pay?card=***"}
    text = alert_text.text(WARNING, "initial", now_us=NOON_US + 12 * MINUTE_US, watched=watched)
    assert text.splitlines() == [
        "Target: main/shop",
        "What: early warning: latency 182 ms, normally 80 ms at ams and fra",
        "Probe: http, https://shop.example/pay?card=***",
        "Since: 2026-11-22 12:00:00 UTC (12 min)",
        "latency (http): 182 ms, normally 80 ms (2.3 times), limit 104 ms, mostly in phase wait",
        "Locations: ams and fra",
        "Time left: at least 2 h",
        f"Incident: {INCIDENT_ID}",
    ]


def test_the_resolved_text_says_how_long_it_lasted() -> None:
    """From the first abnormal tick to the resolution, whenever it is sent."""
    at_us = NOON_US + 500 * MINUTE_US
    assert alert_text.title(RESOLVED, "resolved", now_us=at_us) == "Resolved after 20 min: outage: main/shop"
    assert "Resolved: 2026-11-22 12:20:00 UTC" in alert_text.text(RESOLVED, "resolved", now_us=at_us, watched={})


def test_an_outage_says_how_its_checks_fail_and_when_it_was_warned_of() -> None:
    """The failure, its status and detail, what was asked, since when (once), how long the warning came before."""
    failing = Reason(
        kind="failing", subject=SERVICE, probe="http", since_us=NOON_US, severity="critical", failure="http_status",
        text="failing: http_status 502 at ams and fra (2 of 2 locations), since 2026-11-22 12:00:00 UTC: "
        "status 502, expected 200-299", locations=["ams", "fra"],
    )  # fmt: skip
    outage = msgspec.structs.replace(
        OUTAGE, cause=failing.text, reasons=[*WARNING.reasons, failing], outage_at_us=NOON_US + 11 * MINUTE_US
    )
    watched = {("main/shop", "http"): "https://shop.example/"}
    text = alert_text.text(outage, "escalation", now_us=NOON_US + 12 * MINUTE_US, watched=watched)
    assert text.splitlines()[:6] == [
        "Target: main/shop",
        "What: outage: http_status 502 at ams and fra (2 of 2 locations): status 502, expected 200-299",
        "Probe: http, https://shop.example/",
        "Since: 2026-11-22 12:00:00 UTC (12 min)",
        "Warned: 2026-11-22 12:01:00 UTC, 10 min before the outage was declared",
        "Warned of: latency (http): 182 ms, normally 80 ms (2.3 times), limit 104 ms, mostly in phase wait",
    ]
    assert text.count("since") == 0
    title = alert_text.title(outage, "initial", now_us=NOON_US)
    said = "http_status 502 at ams and fra (2 of 2 locations): status 502, expected 200-299"
    assert title == f"Outage: main/shop: {said}"


@pytest.mark.parametrize("kind", ["initial", "reminder", "escalation", "resolved"])
def test_a_title_is_one_short_line(kind: str) -> None:
    """Whatever the cause holds."""
    long = msgspec.structs.replace(OUTAGE, cause="a\nb " * 200)
    title = alert_text.title(long, kind, now_us=NOON_US)  # type: ignore[arg-type]  # a parametrized literal
    assert "\n" not in title
    assert len(title) <= alert_text.MAX_TITLE_CHARS


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("latency", 80_000.0, "80 ms"),
        ("latency", 1_234.0, "1.23 ms"),
        ("latency", 12_345_678.0, "12.35 s"),
        ("failure_ratio", 0.055, "5.5 %"),
        ("disk_free_ratio:/", 0.08, "8 %"),
        ("tls_days_left", 8.97, "8.97 days"),
        ("load_1m", 3.14159, "3.14"),
        ("queue", 123456.0, "123456"),
    ],
)
def test_readings_are_said_with_their_unit(metric: str, value: float, said: str) -> None:
    """As a person writes them."""
    assert alert_text.quantity(metric, value) == said


def test_what_another_incident_explains_is_told_nobody_until_it_stands_for_itself() -> None:
    """Siblings of one fault are one alert; who is still down when the explanation has ended, is told."""
    story = Story()
    story.alerting.incident(revision(1, kind="outage", caused_by="main/db", outage_at_us=NOON_US))
    assert story.send_all(1) == []
    assert story.send_all(30) == []
    story.alerting.incident(revision(2, kind="outage", effect="updated", page=True, outage_at_us=NOON_US))
    assert story.send_all(31) == ["chat initial 0", "phone initial 0"]


def test_what_ends_while_another_incident_explains_it_is_never_told() -> None:
    """But who was told of it before hears that it is over, and nothing in between."""
    story = Story()
    explained = {"kind": "outage", "caused_by": "main/db", "outage_at_us": NOON_US}
    story.alerting.incident(revision(1, **explained))
    story.alerting.incident(revision(2, effect="resolved", resolved_at_us=NOON_US + MINUTE_US, **explained))
    assert story.send_all(5) == []
    told = Story()
    told.alerting.incident(WARNING)
    assert told.send_all(1) == ["chat initial 0"]
    told.alerting.incident(revision(2, effect="escalated", **explained))
    assert told.send_all(60) == []
    told.alerting.incident(revision(3, effect="resolved", resolved_at_us=NOON_US + MINUTE_US, **explained))
    assert told.send_all(61) == ["chat resolved 0"]
