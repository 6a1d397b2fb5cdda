"""What is a location's and not its targets': losses, what detectors add up meanwhile, silences of several."""

import msgspec

from streams.contract import Verdict
from streams.core.incidents.landscape import Landscape
from streams.core.incidents.losses import TICKS, aged, begun, since
from streams.core.incidents.trouble import judge_trouble
from streams.policy import IncidentPolicy
from tests.streams.installation import INTERVAL_US, SECOND, START_US, Installation, final, play, said

# A network that loses a third of its packets: no two targets alike, one of them loses three in a row.
LOSSY = {
    "shop/a": {"ams": "SSSFSSFSSFSFSSSSFSSSSSSSSSSSSSSSSSSS"},
    "shop/b": {"ams": "SSSSFSSFFSSSFSSFSSSSSSSSSSSSSSSSSSSS"},
    "shop/c": {"ams": "SSSFSSSFSSFSSFSSSSSSSSSSSSSSSSSSSSSS"},
    "shop/d": {"ams": "SSSSSFSSFFFSSSSFSSSSSSSSSSSSSSSSSSSS"},
    "shop/e": {"ams": "SSSSFSFSSSSFSFSSFSSSSSSSSSSSSSSSSSSS"},
    "shop/f": {"ams": "SSSFSSSSSFSSSSFSSSSSSSSSSSSSSSSSSSSS"},
    "shop/g": {"ams": "SSSSFSSSFSSFSSSFSSSSSSSSSSSSSSSSSSSS"},
    "shop/h": {"ams": "SSSSSFSFSSSFSSFSSSSSSSSSSSSSSSSSSSSS"},
}
WELL = "S" * 36


def test_a_location_that_loses_some_of_its_checks_is_in_trouble_once() -> None:
    """Not one target fails for good, d loses three checks in a row, and nobody else looks: it is the network."""
    ((where, kind, opened, resolved),) = said(Installation(rows=LOSSY))
    assert (where, kind) == ("ams", "location_trouble")
    assert opened <= 6
    assert resolved is not None
    assert 17 <= resolved <= 17 + TICKS + 2
    (trouble,) = final(play(Installation(rows=LOSSY))).values()
    assert "fail now and then (timeout)" in trouble.cause
    assert "nobody" not in trouble.cause  # most of it is seen
    assert not trouble.page


def test_a_target_that_is_down_behind_such_a_location_pages() -> None:
    """It fails for longer than the losses explain."""
    rows = {**LOSSY, "shop/db": {"ams": "SSSSSSSS" + "F" * 28}}
    installation = Installation(rows=rows)
    (outage,) = (one for one in final(play(installation)).values() if one.target is not None)
    assert (outage.target, outage.kind, outage.page) == ("shop/db", "outage", True)
    assert outage.outage_at_us is not None
    assert outage.outage_at_us <= START_US + (8 + 16) * INTERVAL_US


def test_targets_that_fail_and_stay_down_are_no_losses() -> None:
    """Three of eight on one hoster's addresses: they page."""
    down = {name: {"ams": "S" * at + "F" * (36 - at)} for name, at in (("shop/x", 4), ("shop/y", 6), ("shop/z", 8))}
    rows = {**{name: {"ams": WELL} for name in LOSSY}, **down}
    assert {(name, kind) for name, kind, *_ in said(Installation(rows=rows))} == {(one, "outage") for one in down}


def test_what_was_lost_before_a_trouble_ended_is_none_after_it() -> None:
    """All fail and come back, and one single loss follows: it ends when they are back, and opens no second one."""
    rows = {name: {"ams": "SSSSFFFFSSSSSSSSSSSSSSSS"} for name in LOSSY} | {
        "shop/a": {"ams": "SSSSFFFFSSSSFSSSSSSSSSSS"}
    }
    assert said(Installation(rows=rows)) == {("ams", "location_trouble", 5, 10)}


def test_the_last_ticks_as_bits() -> None:
    """A tick that was not published was like the last one; a run that reaches back is none of the later ticks'."""
    assert aged(0b101, 3) == 0b101111
    assert aged(0b10, 2) == 0b1000
    assert aged(0b10, TICKS) == 0
    assert begun(0b0110100) == 0b0100100
    assert begun((1 << TICKS) - 1) == 0
    assert since(0b11100110, 7) == 0b00000110
    assert since(0b11100110, 9) == 0b11100110


def verdict(target: str, tick_us: int, interval_us: int, *, fails: bool) -> Verdict:
    """One tick of a target that ams alone sees."""
    return Verdict(
        v=1,
        id=f"{target}.{tick_us}",
        target=target,
        tick_us=tick_us,
        verdict="failing" if fails else "healthy",
        previous="healthy",
        changed=True,
        since_us=tick_us,
        interval_us=interval_us,
        lateness_us=2 * interval_us,
        reported=["ams"],
        failed=["ams"] if fails else [],
        reasons=[],
    )


def test_who_was_not_checked_since_the_fault_began_is_no_witness() -> None:
    """Of ten targets three are checked each ten seconds: when these fail the others cannot know yet."""
    landscape, policy = Landscape(), IncidentPolicy()
    for number in range(10):
        quick = number < 3
        landscape.apply(verdict(f"shop/{number}", START_US, (10 if quick else 60) * SECOND, fails=False))
    for tick in (1, 2):
        for number in range(3):
            landscape.apply(verdict(f"shop/{number}", START_US + tick * 10 * SECOND, 10 * SECOND, fails=True))
    at_us = START_US + 20 * SECOND
    trouble, _ = judge_trouble(None, "ams", landscape, at_us, policy, -1)
    assert trouble is not None
    # A minute later the other seven were checked, and are well: it is the three.
    assert judge_trouble(None, "ams", landscape, START_US + 60 * SECOND, policy, -1)[0] is None


def test_a_network_that_loses_most_packets_is_known_before_its_quick_targets_page() -> None:
    """Of thirty targets half are checked each ten seconds. Some are lucky once, most others fail for the first time."""
    landscape, policy = Landscape(), IncidentPolicy()
    names = [f"shop/{number:02}" for number in range(30)]
    quick, slow = names[:15], names[15:]
    for name in names:
        landscape.apply(verdict(name, START_US, (10 if name in quick else 30) * SECOND, fails=False))
    for tick, lucky in ((1, 6), (2, 7)):
        at_us = START_US + tick * 10 * SECOND
        for place, name in enumerate(quick):
            fails = place >= lucky
            landscape.apply(verdict(name, at_us, 10 * SECOND, fails=fails))
        for place, name in enumerate(slow[tick * 5 - 5 : tick * 5]):
            landscape.apply(verdict(name, at_us, 30 * SECOND, fails=place > 0))
    # 8 fail for the second time and 8 for the first, 9 are well: of those that are sure most are well.
    trouble, _ = judge_trouble(None, "ams", landscape, START_US + 20 * SECOND, policy, -1)
    assert trouble is not None
    # Where those that fail are few, first failures make them no more than they are.
    for name in slow:
        landscape.apply(verdict(name, START_US + 30 * SECOND, 30 * SECOND, fails=False))
    assert judge_trouble(None, "ams", landscape, START_US + 30 * SECOND, policy, -1)[0] is None


def test_a_location_that_reports_one_target_of_many_is_its_own_machine() -> None:
    """Where nobody reports another target either, nothing is known of that."""
    rows = {"shop/web": {"ams": "SS", "on-web": "SS"}, "shop/api": {"ams": "SS"}}
    landscape = Landscape()
    for name in rows:
        for one in Installation(rows=rows).verdicts(name):
            landscape.apply(one)
    assert landscape.hosts(["ams", "on-web"]) == {"on-web"}
    assert landscape.hosts(["on-web"]) == set()


def test_locations_that_fall_silent_together_are_one_silence() -> None:
    """What they report to is gone: told once, and resolved when the last is back; a later one is another."""
    rows = {
        f"shop/{name}": {
            "ams": "SSSxxxxxxxxSSSSSSSSSSSSSSSSS",
            "fra": "SSSxxxxxxSSSSSSSSSSSSSSSSSSS",
            "nyc": "SSSSSSSSSSSSSSSSSSSSxxxxSSSS",
        }
        for name in ("api", "blog", "web")
    }
    installation = Installation(rows=rows)
    assert said(installation) == {("ams", "silence", 3, 11), ("nyc", "silence", 20, 24)}
    told = [one for one in play(installation) if one.location == "ams"]
    assert [one.locations for one in told] == [["ams", "fra"]] * 3
    assert told[1].cause.startswith("no checks from location ams for 3 targets")
    assert told[0].cause.startswith("no checks from locations ams and fra for 3 targets")


def test_a_location_that_is_silent_stays_so_while_nobody_reports() -> None:
    """Detection names those that reported lately; the one that is silent for long is not back by that."""
    installation = Installation(
        rows={"shop/web": {"ams": "SSSxxxxxxxxxxxxxxxxSSSSS", "fra": "SSSSSSSSSSSSSSSSxxSSSSSS"}}
    )
    messages = []
    for one in installation.verdicts("shop/web"):
        reasons = one.reasons
        if one.verdict == "unknown":
            reasons = [msgspec.structs.replace(reason, locations=["fra"]) for reason in reasons]
        messages.append(msgspec.structs.replace(one, reasons=reasons))
    landscape = Landscape()
    silent = []
    for one in messages:
        landscape.apply(one)
        silent.append("".join(name[0] for name in sorted(landscape.silent)))
    assert "".join(dict.fromkeys(silent)) == "aaf"  # none, ams, ams and fra; then none again
    assert silent[-1] == ""
