"""The pool of checks that wait: what is taken is what was put, whatever happened in between."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.pending import ROW, Structured
from streams.core.waiting import LEAST, Waiting

GROUPS = 6
Turn = tuple[list[int], list[int]]


def rows(groups: list[int], first_uid: int) -> Structured:
    """Return a row of each group, in order of group."""
    made = np.zeros(len(groups), dtype=ROW)
    made["group"] = sorted(groups)
    made["uid"] = np.arange(first_uid, first_uid + len(groups))
    return made


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, GROUPS - 1), unique=True, max_size=GROUPS),
            st.lists(st.integers(0, GROUPS - 1), max_size=2 * LEAST // GROUPS),
        ),
        max_size=30,
    )
)
def test_what_is_taken_is_what_was_put(turns: list[Turn]) -> None:
    """Each turn takes some groups and puts rows of some of these back, as a message does."""
    waiting, uid = Waiting(), 0
    known: dict[int, list[int]] = {group: [] for group in range(GROUPS)}
    waiting.grow(GROUPS)
    for taken, put in turns:
        found = waiting.take(np.array(sorted(taken), dtype=np.intp))
        assert found["uid"].tolist() == [one for group in sorted(taken) for one in known[group]]
        known |= {group: [] for group in taken}
        new = rows([group for group in put if group in taken], uid)
        uid += new.size
        for row in new:
            known[int(row["group"])] = [*known[int(row["group"])], int(row["uid"])]
        waiting.put(new)
        everything = [one for group in range(GROUPS) for one in known[group]]
        assert waiting.all()["uid"].tolist() == everything
        assert len(waiting) == len(everything)


def test_the_pool_does_not_grow_with_what_goes_through_it() -> None:
    """Gaps are used again."""
    waiting = Waiting()
    waiting.grow(2)
    waiting.put(rows([1] * 100, 0))
    for turn in range(1000):
        waiting.put(rows([0] * 100, 100 * turn))
        assert waiting.take(np.array([0])).size == 100
    assert waiting._pool.size <= 4 * LEAST
    assert waiting.all().size == 100
