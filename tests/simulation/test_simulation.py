"""Nothing is lost, nothing is twice, whatever fails when; and the simulation finds the mistakes that it is for."""

import pytest

from tests.simulation.members import Bug
from tests.simulation.world import Simulation, run

SEEDS_A_TEST = 50
FIND_WITHIN = 400


@pytest.mark.parametrize("first", range(0, 250, SEEDS_A_TEST))
def test_every_story_ends_as_an_undisturbed_run(first: int) -> None:
    """Each check stored, each verdict published and stored, each state whole; also after a last restart of all."""
    for seed in range(first, first + SEEDS_A_TEST):
        outcome = run(seed)
        assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("bug", Bug)
def test_each_mistake_is_found(bug: Bug) -> None:
    """A simulation that finds nothing proves nothing."""
    assert any(run(seed, bug).wrong for seed in range(FIND_WITHIN)), f"{bug.value}: not found in {FIND_WITHIN} seeds"


def test_a_seed_tells_the_same_story_each_time() -> None:
    """So that what was found can be looked at."""
    assert run(32, Bug.EPOCHS_COMPARED) == run(32, Bug.EPOCHS_COMPARED)


def test_the_stories_are_eventful() -> None:
    """Every kind of fault happens, commits are made and refused, and a log that forgets is among them."""
    story = "\n".join(line for seed in range(60) for line in Simulation(seed).run().story)
    for event in (
        "is killed",
        "the store is away",
        "the store loses",
        "the broker forgets everything",
        "starts again",
        "drops what is committed",
        "is set back to an old backup",
        "begins partition 0 without the store",
        "begins partition 0 not at all",
        "reads again {Place",
        "publishes its spool again",
        "rebalances",
        ": done",
        ": refused",
    ):
        assert event in story, f"never happens: {event}"
