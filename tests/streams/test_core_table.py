"""Rows of wide columns: as plain indexing, only quicker."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.latency.spread import BINS, _sums
from streams.core.table import Rows, any_of, put, take

ROWS = 40
DTYPES = (np.float64, np.float32, np.int64, np.int16, np.bool_)
SOME_ROWS = st.lists(st.integers(0, ROWS - 1), unique=True).map(lambda rows: np.array(rows, dtype=np.intp))


@given(rows=SOME_ROWS, width=st.integers(0, 24), dtype=st.sampled_from(DTYPES), values_dtype=st.sampled_from(DTYPES))
def test_rows_are_taken_and_written_as_by_an_index(rows: Rows, width: int, dtype: Any, values_dtype: Any) -> None:
    """One dimension (width 0) or two, no row, one, or many; what is written is cast to the column's type."""
    rng = np.random.default_rng(width)
    shape = (width,) if width else ()
    column = (100.0 * rng.random((ROWS, *shape))).astype(dtype)
    indexed, values = column.copy(), (100.0 * rng.random((rows.size, *shape))).astype(values_dtype)
    taken = take(column, rows)
    np.testing.assert_array_equal(taken, indexed[rows])
    assert taken.dtype == dtype
    taken[...] = 0  # a copy
    put(column, rows, values)
    indexed[rows] = values.astype(dtype)
    np.testing.assert_array_equal(column, indexed)


@given(flags=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1))
def test_any_of_a_few_flags(flags: list[tuple[bool, bool, bool]]) -> None:
    """Of each row."""
    np.testing.assert_array_equal(any_of(np.array(flags)), [any(row) for row in flags])


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_running_sums_leave_what_they_sum_alone(rows: int) -> None:
    """Also of a single row, whose transpose is as contiguous as itself."""
    counts = np.random.default_rng(rows).random((rows, BINS), dtype=np.float32)
    before = counts.copy()
    np.testing.assert_allclose(_sums(counts).T, np.cumsum(before, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(counts, before)
