"""Targets that are ill together: siblings on an address or in a group, and what depends on what."""

import pytest

from streams.contract import SERVICE, Incident, Reason
from streams.core.incidents.company import Companies
from streams.core.incidents.incident import SubjectState, step
from streams.core.incidents.signs import Finding, Sign
from streams.policy import Expectations, IncidentPolicy
from tests.streams.installation import INTERVAL_US, SECOND, START_US, Installation, final, play

CLEAN = "SSSSSSSSSSSSSSSSSSSSSSSS"
DOWN = "SSFFFFFFFFSSSSSSSSSSSSSS"
API, BLOG, DB, WEB = "shop/api", "shop/blog", "shop/db", "shop/web"


def installation(
    lines: dict[str, str],
    *,
    address: str | None = "192.0.2.1",
    offsets_s: dict[str, int] | None = None,
    **expectations: object,
) -> Installation:
    """Targets that two locations see alike, all on one address unless it is None."""
    return Installation(
        rows={target: {"ams": line, "fra": line} for target, line in lines.items()},
        addresses=dict.fromkeys(lines, address) if address is not None else {},
        offsets_us={target: offset * SECOND for target, offset in (offsets_s or {}).items()},
        expectations=Expectations(**expectations),  # type: ignore[arg-type]
    )


def by_target(revisions: list[Incident]) -> dict[str, list[Incident]]:
    """The last revision of each incident, by target, oldest first."""
    found: dict[str, list[Incident]] = {}
    for one in sorted(final(revisions).values(), key=lambda one: one.opened_at_us):
        found.setdefault(one.target or one.location or "", []).append(one)
    return found


def told(revisions: list[Incident]) -> list[Incident]:
    """Last revisions of the incidents that anybody is told of."""
    return [one for one in final(revisions).values() if one.caused_by is None]


def test_three_sites_on_one_address_are_one_incident_with_one_cause_line() -> None:
    """The first one speaks, names the others, and pages; they are recorded with it and page nobody."""
    revisions = play(installation({API: DOWN, BLOG: DOWN, WEB: DOWN}))
    (one,) = told(revisions)
    assert (one.target, one.kind, one.page, one.related) == (API, "outage", True, [BLOG, WEB])
    assert one.cause == (
        "3 sites on one address (192.0.2.1) fail together (the hoster, not the sites): shop/api, shop/blog and "
        "shop/web; timeout at ams and fra, since 2023-11-14 22:14:00 UTC"
    )
    others = [part for part in final(revisions).values() if part.caused_by is not None]
    assert {(part.target, part.caused_by, part.kind, part.page) for part in others} == {
        (BLOG, API, "outage", False),
        (WEB, API, "outage", False),
    }
    assert all(part.cause.startswith("caused by shop/api: timeout at ams") for part in others)
    assert all(part.resolved_at_us is not None for part in final(revisions).values())


def test_the_first_revision_says_already_who_is_ill_together() -> None:
    """Its alert is sent at once: what is only said later is not read."""
    offsets = {API: 3, BLOG: 17, WEB: 25}
    revisions = play(installation({API: DOWN, BLOG: DOWN, WEB: DOWN}, offsets_s=offsets))
    first = next(one for one in revisions if one.effect == "opened")
    assert (first.target, first.related) == (API, [BLOG, WEB])
    assert first.cause.startswith("3 sites on one address")


def test_a_lone_target_pages() -> None:
    """Its siblings are well: it is the site, not the hoster."""
    (one,) = play_told({API: DOWN, BLOG: CLEAN, WEB: CLEAN})
    assert (one.target, one.page, one.related) == (API, True, [])
    assert one.cause.startswith("timeout at ams")


def test_a_minority_of_an_address_is_not_the_hoster() -> None:
    """Two of five sites fail: each stands for itself."""
    lines = {API: DOWN, BLOG: DOWN, "a/1": CLEAN, "a/2": CLEAN, "a/3": CLEAN}
    assert {(one.target, one.page) for one in play_told(lines)} == {(API, True), (BLOG, True)}


def test_targets_that_share_nothing_stand_for_themselves() -> None:
    """Three targets on three addresses, failing everywhere at once: three pages."""
    assert {(one.target, one.page) for one in play_told({API: DOWN, BLOG: DOWN, WEB: DOWN}, address=None)} == {
        (target, True) for target in (API, BLOG, WEB)
    }


def test_a_sibling_that_began_to_fail_much_later_stands_for_itself() -> None:
    """It is on the same address, and fails for a reason of its own: nobody may miss that."""
    found = play_told({API: "SSFFFFFFFFFFFFFFFFFFFFFF", WEB: "SSSSSSSSSSFFFFFFFFFFFFFF"})
    assert {(one.target, one.page) for one in found} == {(API, True), (WEB, True)}


def test_a_group_of_the_config_is_one_incident_whatever_its_addresses() -> None:
    """Two of three that share a cluster fail together."""
    groups = dict.fromkeys((API, BLOG, WEB), "checkout")
    (one,) = play_told({API: DOWN, BLOG: DOWN, WEB: CLEAN}, address=None, groups=groups)
    assert (one.target, one.related) == (API, [BLOG])
    assert one.cause.startswith(
        "2 sites of the group checkout fail together (what they share, not one of them): shop/api and shop/blog; "
    )


def test_siblings_that_slow_down_together_are_one_warning() -> None:
    """Detectors differ in patience: what began within twenty intervals began together."""
    found = play_told({API: "SSDDDDDDDDDDSSSSSSSSSSSS", WEB: "SSSSSDDDDDDDSSSSSSSSSSSS"})
    assert [(one.target, one.kind, one.related) for one in found] == [(API, "early_warning", [WEB])]
    assert found[0].cause.startswith("2 sites on one address (192.0.2.1) deviate together")


def test_a_sibling_that_stays_down_when_the_first_is_back_pages() -> None:
    """A minute after the explanation has ended, it stands for itself."""
    later = "SSFFFFFFFFFFFFFFFFFFFFFF"
    revisions = play(installation({API: DOWN, WEB: later}))
    (own,) = by_target(revisions)[WEB]
    assert (own.caused_by, own.page) == (None, True)
    pages = [one for one in revisions if one.target == WEB and one.page]
    # The last tick at which API failed is 9: two intervals after it.
    assert pages[0].updated_at_us == START_US + 11 * INTERVAL_US
    assert not pages[0].cause.startswith("caused by")


def test_of_several_that_stay_down_one_speaks() -> None:
    """When the first is back, the next one leads the rest."""
    later = "SSFFFFFFFFFFFFFFFFFFFFFF"
    found = play_told({API: DOWN, BLOG: later, DB: later, WEB: later})
    assert [(one.target, one.page) for one in found if one.resolved_at_us is None] == [(BLOG, True)]


def test_a_slow_sibling_explains_no_failure() -> None:
    """The first is only slow: the one that fails pages."""
    found = play_told({API: "SSDDDDDDDDDDDDDDDDDDDDDD", WEB: "SSDDFFFFFFFFFFFFFFFFFFFF"})
    assert {(one.target, one.kind, one.page) for one in found} == {
        (API, "early_warning", False),
        (WEB, "outage", True),
    }


def test_what_depends_on_a_target_that_fails_is_recorded_and_pages_nobody() -> None:
    """Both fail together; the database is told, with the web that depends on it."""
    found = play(installation({DB: DOWN, WEB: DOWN}, address=None, depends_on={WEB: (DB,)}))
    (one,) = told(found)
    assert (one.target, one.page, one.related) == (DB, True, [WEB])
    assert one.cause.endswith("; with it fail shop/web, which depend on it")
    (web,) = by_target(found)[WEB]
    assert (web.caused_by, web.page, web.kind) == (DB, False, "outage")
    assert web.resolved_at_us is not None


def test_a_dependent_that_is_still_down_when_its_dependency_is_back_pages() -> None:
    """It has a minute to recover."""
    lines = {DB: DOWN, WEB: "SSFFFFFFFFFFFFFFFFFFFFFF"}
    revisions = play(installation(lines, address=None, depends_on={WEB: (DB,)}))
    pages = [one.updated_at_us for one in revisions if one.target == WEB and one.page]
    assert pages[:1] == [START_US + 11 * INTERVAL_US]


def test_a_dependent_that_fails_while_its_dependency_is_well_pages() -> None:
    """Nothing explains it."""
    (one,) = play_told({DB: CLEAN, WEB: DOWN}, address=None, depends_on={WEB: (DB,)})
    assert (one.target, one.page) == (WEB, True)


def test_a_dependent_that_failed_long_before_stands_for_itself() -> None:
    """What fails first is not explained by what fails later."""
    lines = {DB: "SSSSSSSSSSFFFFFFFFFFFFFF", WEB: "SSFFFFFFFFFFFFFFFFFFFFFF"}
    found = play_told(lines, address=None, depends_on={WEB: (DB,)})
    assert {(one.target, one.page) for one in found} == {(DB, True), (WEB, True)}


def test_dependencies_reach_over_several_steps() -> None:
    """The page depends on the api, which depends on the database: one is told."""
    lines = {API: CLEAN, DB: DOWN, WEB: DOWN}
    found = play_told(lines, address=None, depends_on={WEB: (API,), API: (DB,)})
    assert [(one.target, one.related) for one in found] == [(DB, [WEB])]


@pytest.mark.parametrize("offsets", [{DB: 0, WEB: 20}, {DB: 20, WEB: 0}])
def test_a_dependency_on_the_same_address_leads_its_dependents(offsets: dict[str, int]) -> None:
    """Whichever is checked first: two never explain each other, and one is told."""
    found = play_told({DB: DOWN, WEB: DOWN}, offsets_s=offsets, depends_on={WEB: (DB,)})
    assert [(one.target, one.page) for one in found] == [(DB, True)]


def test_a_restart_of_the_dependency_explains_the_dependents_too() -> None:
    """Neither pages; both are recorded."""
    line = "SSFFFSSSSSSSSSSSSSSSSSSS"
    found = play(installation({DB: line, WEB: line}, address=None, depends_on={WEB: (DB,)}), page_after_us=90 * SECOND)
    assert not any(one.page for one in found)
    assert {one.target for one in final(found).values()} == {DB, WEB}


class Place:
    """Targets on addresses of their own, judged one tick after the other; all that is slow is so at ams."""

    def __init__(self) -> None:
        self.companies = Companies(Expectations())
        self.states: dict[str, SubjectState] = {}

    def judge(self, target: str, minute: int, since: int | None, *locations: str) -> SubjectState:
        """Judge one tick of a target, that is slow since a minute, or well."""
        reasons = () if since is None else (slow_since(since, *locations),)
        finding = Finding(
            tick_us=START_US + minute * 60 * SECOND,
            sign=Sign.HEALTHY if since is None else Sign.DEGRADED,
            since_us=START_US + (minute if since is None else since) * 60 * SECOND,
            interval_us=60 * SECOND,
            reasons=reasons,
            locations=locations,
        )
        company = self.companies.of(target, finding, f"address of {target}")
        before = self.states.get(target, SubjectState())
        state, _told = step(target, SERVICE, before, finding, IncidentPolicy(), company)
        self.companies.see(target, finding, f"address of {target}", state.incident, company.caused_by)
        self.states[target] = state
        return state

    def causes(self) -> dict[str, str | None]:
        """By target, who explains the incident that is open."""
        return {name: state.incident.caused_by for name, state in self.states.items() if state.incident is not None}


def slow_since(minute: int, *locations: str) -> Reason:
    """Return that latency has left its level there."""
    return Reason(
        kind="latency_level",
        subject=SERVICE,
        text="slow",
        probe="http",
        since_us=START_US + minute * 60 * SECOND,
        locations=list(locations),
        metric="latency",
    )


def test_what_slows_one_location_down_is_one_warning() -> None:
    """Six targets become slow at ams within minutes: the first speaks, also when the others stay slow for longer."""
    place, names = Place(), [f"shop/{number}" for number in range(6)]
    for minute in range(4, 40):
        for number, name in enumerate(names):
            since = number % 3 if 4 + number <= minute < 20 + number else None
            place.judge(name, minute, since, "ams")
            open_ones = place.causes()
            assert all(cause == names[0] for other, cause in open_ones.items() if other != names[0])
            assert open_ones.get(names[0]) is None
    assert place.causes() == {}


def test_two_that_are_slow_at_one_location_are_chance_after_a_while() -> None:
    """The second is explained for five intervals, until it is known that no others come; then it stands for itself."""
    place = Place()
    for minute in range(4, 9):
        place.judge("shop/a", minute, 0, "ams")
        assert place.judge("shop/b", minute, 1, "ams").incident is not None
        assert place.causes() == {"shop/a": None, "shop/b": "shop/a"}
    for minute in range(9, 12):
        place.judge("shop/a", minute, 0, "ams")
        place.judge("shop/b", minute, 1, "ams")
    assert place.causes() == {"shop/a": None, "shop/b": None}


def test_who_is_slow_elsewhere_or_at_two_locations_stands_for_itself() -> None:
    """A location explains only what is seen from it alone."""
    place = Place()
    for name in ("shop/a", "shop/b", "shop/c", "shop/d"):
        place.judge(name, 4, 0, "ams")
    place.judge("shop/e", 5, 0, "fra")
    place.judge("shop/f", 5, 0, "ams", "fra")
    causes = place.causes()
    assert [causes[name] for name in ("shop/d", "shop/e", "shop/f")] == ["shop/a", None, None]


def play_told(lines: dict[str, str], **more: object) -> list[Incident]:
    """The incidents that anybody is told of, in their last state."""
    return told(play(installation(lines, **more)))  # type: ignore[arg-type]
