"""RowBinary as the store reads it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.row_binary import array, insert_rows, text, whole
from analytics.session import Session

TABLE = "written_by_hand"
COLUMNS = {
    "number": "Int64",
    "name": "String",
    "kind": "LowCardinality(String)",
    "pairs": "Array(Tuple(a String, b Int64))",
}
WHOLES = st.integers(-(2**63), 2**63 - 1)
PAIRS = st.lists(st.tuples(st.text(), WHOLES), max_size=200)
ROWS = st.lists(st.tuples(WHOLES, st.binary(max_size=20_000), st.text(max_size=200), PAIRS), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_what_is_written_is_read(session: Session, rows: list[tuple[int, bytes, str, list[tuple[str, int]]]]) -> None:
    """Whatever the bytes, and lengths of one, two and three bytes."""
    with session.client() as client:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        client.command(f"CREATE OR REPLACE TABLE {TABLE} ({columns}) ENGINE = Memory")
        insert_rows(client, TABLE, COLUMNS, [_encoded(*row) for row in rows])
        found = client.query("SELECT * FROM written_by_hand", query_formats={"String": "bytes"}).result_rows
        client.command(f"DROP TABLE {TABLE}")
    assert sorted(map(_plain, found), key=repr) == sorted(
        ((number, name, kind.encode(), [(a.encode(), b) for a, b in pairs]) for number, name, kind, pairs in rows),
        key=repr,
    )


def _encoded(number: int, name: bytes, kind: str, pairs: list[tuple[str, int]]) -> bytes:
    return whole(number) + text(name) + text(kind) + array(text(a) + whole(b) for a, b in pairs)


def _plain(row: Sequence[Any]) -> tuple[Any, ...]:
    number, name, kind, pairs = row
    return number, _bytes(name), _bytes(kind), [(_bytes(one["a"]), one["b"]) for one in pairs]


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
