"""After a backlog: what is over is recorded, what is open comes as one message, and nothing waits in silence."""

import msgspec

from producers.topics import partition_of
from streams.contract import JUDGING, Incident
from streams.core.alerting.alerting import LOCATION_WAITS_US, SETTLE_US, STALE_US, Alerting, Due
from streams.core.incidents.pace import judge_pace
from streams.schemas.messages import NOON_US
from tests.streams.test_alerting import CHAT, MINUTE_US, OUTAGE, PARTITIONS, PHONE, POLICY, record

HEAD_US = NOON_US + 180 * MINUTE_US
"""Now: what happened at noon comes out of a backlog."""

SETTLED_US = HEAD_US + SETTLE_US


def outage(target: str, **changes: object) -> Incident:
    """An outage of a target that began at noon."""
    told = {"incident_id": target, "id": f"{target}.1", "target": target, "updated_at_us": NOON_US} | changes
    return msgspec.structs.replace(OUTAGE, **told)


def judging(*partitions: int, resolved: bool = False) -> Incident:
    """The incident about these partitions."""
    closed = {number: NOON_US if number in partitions else HEAD_US for number in range(PARTITIONS)}
    known, _ = judge_pace(None, closed, HEAD_US, since_us=NOON_US)
    assert known is not None
    if not resolved:
        return known
    _, (over,) = judge_pace(known, dict.fromkeys(closed, HEAD_US), HEAD_US, since_us=NOON_US)
    return over


def folded(*incidents: Incident, logged_us: int = HEAD_US) -> Alerting:
    """A fold that has these, written to the log now."""
    alerting = Alerting(POLICY, partitions=PARTITIONS)
    for one in incidents:
        alerting.incident(one, logged_us=logged_us)
    return alerting


def told(due: Due) -> list[str]:
    """The incidents of a message."""
    return sorted(part.incident.incident_id for part in due.parts) or [due.incident.incident_id]


def test_what_is_still_open_after_a_backlog_is_one_message_a_channel() -> None:
    """It lists them; each has its own record under its own key, and nothing comes again."""
    names = ["main/a", "main/b", "main/c"]
    alerting = folded(*(outage(name) for name in names))
    for channel in (CHAT, PHONE):
        (digest,) = alerting.due(channel, SETTLED_US)
        assert told(digest) == names
        assert digest.title == "3 incidents are open after a backlog, 3 of them outages"
        assert all(name in digest.text for name in names)
        for part in digest.parts:
            alerting.alert(record(part, SETTLED_US))
        assert list(alerting.due(channel, SETTLED_US)) == []
    alerting.incident(outage("main/a", revision=9, resolved_at_us=SETTLED_US), logged_us=SETTLED_US)
    assert [(one.kind, told(one)) for one in alerting.due(CHAT, SETTLED_US)] == [("resolved", ["main/a"])]


def test_a_digest_has_the_same_key_however_often_it_is_tried() -> None:
    """A receiver that knows keys drops the second one."""
    alerting = folded(outage("main/a"), outage("main/b"))
    assert [one.key for one in alerting.due(CHAT, SETTLED_US)] == [one.key for one in alerting.due(CHAT, HEAD_US * 2)]


def test_what_is_over_at_the_head_of_the_log_is_recorded_and_not_told() -> None:
    """Neither its beginning nor its end, to no channel."""
    over = outage("main/a", revision=9, resolved_at_us=NOON_US + MINUTE_US)
    alerting = folded(outage("main/a"), over)
    assert [*alerting.due(CHAT, SETTLED_US), *alerting.due(PHONE, SETTLED_US)] == []


def test_it_waits_while_judging_is_behind_in_its_partition() -> None:
    """It may be over at the head of the log, which that partition has not reached; others do not wait for it."""
    mine, other = "main/a", "main/b"
    assert partition_of(mine, PARTITIONS) != partition_of(other, PARTITIONS)
    alerting = folded(judging(partition_of(mine, PARTITIONS)), outage(mine), outage(other))
    assert sorted(told(one)[0] for one in alerting.due(CHAT, SETTLED_US) if one.incident.subject != JUDGING) == [other]
    alerting.incident(judging(partition_of(mine, PARTITIONS), resolved=True), logged_us=SETTLED_US)
    assert told(alerting.due(CHAT, SETTLED_US)[0]) == [mine, other]


def test_that_judging_is_behind_is_told_at_once() -> None:
    """It is why nothing else is."""
    alerting = folded(judging(0, 1, 2, 3), outage("main/a"), outage("main/b"))
    assert [one.incident.subject for one in alerting.due(PHONE, HEAD_US)] == [JUDGING]


def test_what_is_of_now_never_waits() -> None:
    """Even while another part of the installation works off a backlog."""
    fresh = outage("main/a", updated_at_us=HEAD_US - STALE_US)
    alerting = folded(judging(0, 1, 2, 3), fresh)
    assert "main/a" in [one.incident.incident_id for one in alerting.due(PHONE, HEAD_US)]


def test_a_new_step_of_now_makes_it_news_again() -> None:
    """What is going on at the head of the log is no backlog."""
    alerting = folded(outage("main/a"))
    assert list(alerting.due(CHAT, HEAD_US)) == []
    alerting.incident(outage("main/a", revision=9, updated_at_us=HEAD_US), logged_us=HEAD_US)
    assert told(alerting.due(CHAT, HEAD_US)[0]) == ["main/a"]


def test_one_stopped_partition_does_not_hold_the_incidents_of_locations_for_ever() -> None:
    """They are of all partitions: half an hour, then they are told."""
    of_location = msgspec.structs.replace(outage("x"), target=None, location="ams")
    alerting = folded(judging(0), of_location)
    waits_until_us = HEAD_US + LOCATION_WAITS_US
    assert "x" not in [one.incident.incident_id for one in alerting.due(CHAT, waits_until_us - 1)]
    assert "x" in [one.incident.incident_id for one in alerting.due(CHAT, waits_until_us)]


def test_a_sender_that_was_away_tells_what_is_open_as_one_message() -> None:
    """It finds it in the log at its start; nothing was late in being judged."""
    alerting = folded(outage("main/a"), outage("main/b"), logged_us=NOON_US)
    alerting.caught_up()
    (digest,) = alerting.due(CHAT, HEAD_US)
    assert told(digest) == ["main/a", "main/b"]
