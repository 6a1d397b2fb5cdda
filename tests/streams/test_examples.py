"""The published example messages through the core: decoded, judged, and told on, as the workers do it."""

import json
from pathlib import Path

import msgspec
import pytest

from producers import codec as checks_codec
from producers import topics
from producers.contract import VERSION, ClockTick
from streams import codec
from streams.alerts import AlertsPart
from streams.contract import Incident, TickSummary, Verdict
from streams.core.detect import Detector
from streams.core.incidents.incidents import Incidents
from streams.detect import DetectPart
from streams.group import LogMessage, OutMessage
from streams.incidents import IncidentsPart
from streams.policy import AlertPolicy, Channel, DetectPolicy, Expectations, IncidentPolicy

ROOT = Path(__file__).parents[2]
CHECKS = sorted((ROOT / "producers/schemas/examples").glob("checks_*.json"))
OTHERS = sorted((ROOT / "producers/schemas/examples").glob("[!c]*.json"))
MINUTE_US = 60_000_000


def message(topic: str, value: bytes, offset: int = 0, at_us: int = 4_000_000_000_000_000) -> LogMessage:
    """Return a message as it is read."""
    return LogMessage(epoch="e", topic=topic, partition=0, offset=offset, timestamp_us=at_us, key=None, value=value)


def judged(*values: bytes) -> list[OutMessage]:
    """Return what detection says of these messages of `checks`."""
    part = DetectPart(Detector(DetectPolicy(), Expectations(), partition=0, partitions=1), 0)
    return [out for offset, value in enumerate(values) for out in part.handle(message(topics.CHECKS, value, offset))]


def clock(at_us: int) -> bytes:
    """Return a clock event."""
    return checks_codec.encode(ClockTick(v=VERSION, partition=0, at_us=at_us))


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.name)
def test_each_target_of_an_example_is_judged(path: Path) -> None:
    """The verdict that its checks call for, once its tick is closed; incidents take it in."""
    value = path.read_bytes()
    batch = json.loads(value)
    newest_us = max(batch["scheduled_at_us"])
    outs = judged(value, clock(newest_us + MINUTE_US), clock(newest_us + 5 * MINUTE_US))
    events = [codec.decode(out.topic, out.value) for out in outs]
    verdicts = [event for event in events if isinstance(event, Verdict)]
    outcomes: dict[str, set[str]] = {}
    for target, outcome in zip(batch["target"], batch["outcome"], strict=True):
        outcomes.setdefault(target, set()).add(outcome)
    first = {one.target: one.verdict for one in reversed(verdicts)}
    wanted = {"success": "healthy", "failure": "failing", "missed": "unknown"}
    assert set(first) == set(outcomes)
    for target, seen in outcomes.items():
        if len(seen) == 1:
            assert first[target] == wanted[next(iter(seen))], target
    assert any(isinstance(event, TickSummary) for event in events)
    incidents = IncidentsPart(Incidents(IncidentPolicy(), Expectations(), partitions=1, settle_ticks=5))
    told = [step for out in outs if out.topic == topics.VERDICTS for step in incidents.handle(message(*_of(out)))]
    assert {out.topic for out in told} <= {topics.INCIDENTS}


def _of(out: OutMessage) -> tuple[str, bytes]:
    return out.topic, out.value


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
def test_what_is_no_check_becomes_no_dead_letter(path: Path) -> None:
    """A producer's health and its orderly stop."""
    assert [out.topic for out in judged(path.read_bytes()) if out.topic == topics.DEAD_LETTERS] == []


@pytest.mark.parametrize("name", ["verdict", "summary"])
def test_incidents_take_in_what_detection_publishes(name: str) -> None:
    """Without a dead letter, and it changes what they know."""
    value = (ROOT / f"streams/schemas/examples/{name}.v1.json").read_bytes()
    part = IncidentsPart(Incidents(IncidentPolicy(), Expectations(), partitions=1, settle_ticks=5))
    before = part.freeze().pack()
    assert [out.topic for out in part.handle(message(topics.VERDICTS, value))] in ([], [topics.INCIDENTS])
    assert part.freeze().pack() != before


def test_alerts_tell_of_the_incident_once_its_record_and_its_actions_are_folded() -> None:
    """The example incident is due at a channel; with the example's action and alert read too, nothing is refused."""
    folder = ROOT / "streams/schemas/examples"
    incident = codec.decode(topics.INCIDENTS, (folder / "incident.v1.json").read_bytes())
    assert isinstance(incident, Incident)
    alone = codec.encode(msgspec.structs.replace(incident, caused_by=None))
    channel = Channel(name="ops", webhook_url="http://127.0.0.1:9/")
    part = AlertsPart(AlertPolicy(channels=(channel,)), partitions=1)
    part.alerting.caught_up()
    assert part.handle(message(topics.INCIDENTS, alone, at_us=incident.updated_at_us)) == []
    [due] = part.alerting.due(channel, incident.opened_at_us + MINUTE_US)
    assert due.incident.incident_id == incident.incident_id
    for topic, name in ((topics.ACTIONS, "action"), (topics.ALERTS, "alert")):
        assert part.handle(message(topic, (folder / f"{name}.v1.json").read_bytes())) == []
