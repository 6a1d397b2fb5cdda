"""The policy sections of a config: what is judged how, budgets of false alarms, groups and dependencies."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forewarn.config.policy import Detection, Incidents
from streams.policy import DAY_US, SECOND_US, DetectPolicy, IncidentPolicy
from tests.forewarn.test_config import MINIMAL, config_of


def test_policy_sections_name_every_field_of_the_contracts() -> None:
    """A field that is added to a policy and forgotten here fails this test."""

    def keys(policy: type) -> set[str]:
        return {item.name.removesuffix("_us") for item in dataclasses.fields(policy)}

    assert set(Detection.model_fields) == keys(DetectPolicy)
    assert set(Incidents.model_fields) == keys(IncidentPolicy)


def test_overrides_of_a_target_change_single_keys() -> None:
    """Over the file's own policy, not over the defaults; targets without overrides are not listed."""
    text = """
detection: {warn_score: 6, horizon: 2d}
incidents: {failure_ticks: 4}
targets:
  - {name: x, url: "http://x", detection: {warn_ticks: 9}, incidents: {page_time_left: 2h}}
  - {name: y, url: "http://y"}
"""
    config = config_of(text)
    expectations = config.expectations()
    assert config.detect_policy == DetectPolicy(warn_score=6, horizon_us=2 * DAY_US)
    assert expectations.detect == {"main/x": DetectPolicy(warn_score=6, horizon_us=2 * DAY_US, warn_ticks=9)}
    own = IncidentPolicy(failure_ticks=4, page_time_left_us=7200 * SECOND_US)
    assert expectations.incidents == {"main/x": own}


def test_the_installations_budget_is_divided_over_its_series() -> None:
    """Latency and days left of https, latency of http, failures of each probe; a target's own key wins."""
    text = """
policy: {false_warnings_per_week: 2}
locations: [{name: a}, {name: b}]
targets:
  - {name: x, probes: [{http: "https://x"}, {tls: "x:443"}, {tcp: "x:25"}]}
  - {name: y, url: "http://y", detection: {false_warnings_per_series_week: 0.5}}
  - {name: z, locations: [a], probes: [{host: {mounts: [/, /srv]}}]}
"""
    config = config_of(text)
    series = (1 + 2 * 2) + (1 + 2 * 2) + (1 + 2 * 1) + (1 + 2 * 1) + (1 + 3 + 2 * 2)
    assert config.detect_policy.false_warnings_per_series_week == pytest.approx(2 / series)
    assert config.expectations().detect["main/y"].false_warnings_per_series_week == 0.5
    assert config_of(MINIMAL).detect_policy == DetectPolicy()


@pytest.mark.parametrize(
    ("policy", "targets", "signals"),
    [
        ("", 1, 2),
        ("", 300, 2),
        ("false_warnings_per_week: 100000", 1, 0),  # every signal is up most of the time: no agreement says anything
        ("false_warnings_per_week: 10, false_pages_per_month: 0.05", 1, 3),
        ("false_pages_per_month: 0", 1, 0),
    ],
)
def test_so_many_signals_must_agree_that_chance_keeps_the_budget_of_pages(
    policy: str, targets: int, signals: int
) -> None:
    """The more false warnings are allowed and the fewer pages, the more signals; a key of `incidents` wins."""
    listed = "\n".join(f"  - {{name: x{number}, url: 'http://x'}}" for number in range(targets))
    text = f"policy: {{{policy}}}\ntargets:\n{listed}\n"
    assert config_of(text).incident_policy.page_signals == signals
    assert config_of(f"incidents: {{page_signals: 1}}\n{text}").incident_policy.page_signals == 1


def test_groups_and_dependencies_reach_the_incidents() -> None:
    """A name without a customer is of the same one."""
    text = """
targets:
  - {name: web, customer: acme, url: "http://x", group: checkout, depends_on: [db, main/mail]}
  - {name: db, customer: acme, url: "http://x", group: checkout}
  - {name: mail, url: "http://x"}
"""
    expectations = config_of(text).expectations()
    assert expectations.groups == {"acme/web": "checkout", "acme/db": "checkout"}
    assert expectations.depends_on == {"acme/web": ("acme/db", "main/mail")}


@given(
    settle=st.integers(1, 20),
    failure=st.integers(1, 20),
    success=st.integers(1, 20),
    warning=st.integers(1, 20),
    partial=st.integers(1, 20),
    own=st.integers(1, 20),
)
def test_verdicts_are_settled_for_as_long_as_any_threshold_counts(
    settle: int, failure: int, success: int, warning: int, partial: int, own: int
) -> None:
    """settle_ticks is never under a threshold of the incidents of the same target, else it would wait for ever."""
    config = config_of(
        f"detection: {{settle_ticks: {settle}}}\n"
        f"incidents: {{failure_ticks: {failure}, success_ticks: {success}, warning_ticks: {warning}, "
        f"partial_failure_ticks: {partial}}}\n"
        f"targets: [{{name: x, url: 'http://x', incidents: {{failure_ticks: {own}}}}}]"
    )
    assert config.detect_policy.settle_ticks == max(settle, failure, success, warning, partial)
    of_target = config.expectations().detect.get("main/x", config.detect_policy)
    assert of_target.settle_ticks == max(settle, failure, success, warning, partial, own)
