"""Growable arrays: one table an entity, one row a key, one array a field."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

FIRST_CAPACITY: Final = 16

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.intp]

Scalar = TypeVar("Scalar", bound=np.generic)


class Column(NamedTuple):
    """How an array of a table is made: its type, what a new row holds, and the shape of one row."""

    dtype: type[np.generic]
    fill: float
    shape: tuple[int, ...] = ()


class Table:
    """Arrays that grow together. A subclass names them in COLUMNS and annotates each as an attribute.

    Arrays are longer than `rows`: index them by row numbers, never take them whole but by `[:rows]`.
    """

    COLUMNS: ClassVar[Mapping[str, Column]] = {}

    def __init__(self) -> None:
        self.rows = 0
        self._capacity = FIRST_CAPACITY
        for name, column in self.columns().items():
            setattr(self, name, _filled(column, FIRST_CAPACITY))

    def columns(self) -> Mapping[str, Column]:
        """Return the columns; a subclass whose widths depend on a policy says so here."""
        return self.COLUMNS

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows; new ones hold their column's fill."""
        if rows > self._capacity:
            self._capacity = max(rows, 2 * self._capacity)
            for name, column in self.columns().items():
                grown = _filled(column, self._capacity)
                grown[: self.rows] = getattr(self, name)[: self.rows]
                setattr(self, name, grown)
        self.rows = max(rows, self.rows)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Return the filled part of each array, named `<prefix>.<column>`, for a snapshot."""
        return {f"{prefix}.{name}": getattr(self, name)[: self.rows] for name in self.columns()}

    def load(self, prefix: str, arrays: Mapping[str, npt.NDArray[Any]], rows: int) -> None:
        """Take over the arrays of a snapshot.

        Raises:
            ValueError: If one is missing, or has another type, length or width.
        """
        columns = self.columns()
        for name, column in columns.items():
            array = arrays.get(f"{prefix}.{name}")
            if array is None:
                raise ValueError(f"snapshot: array {prefix}.{name} is missing")
            if array.dtype != np.dtype(column.dtype) or array.shape != (rows, *column.shape):
                raise ValueError(f"snapshot: array {prefix}.{name} is {array.dtype}{list(array.shape)}")
        self.grow(rows)
        for name in columns:
            getattr(self, name)[:rows] = arrays[f"{prefix}.{name}"]


def take(column: npt.NDArray[Scalar], rows: Rows) -> npt.NDArray[Scalar]:
    """Return a copy of some rows of a column. Those of a wide one are copied in one piece; an index walks over them."""
    return column.take(rows, axis=0)


def put(column: npt.NDArray[Scalar], rows: Rows, values: npt.NDArray[Any]) -> None:
    """Write some rows of a column, those of a wide one in one piece each: `values` as `take` returns them."""
    if column.ndim == 1:
        column[rows] = values
        return
    piece = np.dtype((np.void, column.strides[0]))
    column.view(piece)[rows] = np.ascontiguousarray(values, dtype=column.dtype).view(piece)


def any_of(flags: Bools) -> Bools:
    """Say of each row whether any of its few flags is set: `any(axis=1)` takes five times as long. (n, k) to (n,)."""
    found: Bools = functools.reduce(np.logical_or, flags.T)
    return found


def _filled(column: Column, rows: int) -> npt.NDArray[Any]:
    return np.full((rows, *column.shape), column.fill, dtype=column.dtype)
