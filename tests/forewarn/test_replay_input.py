"""What a recorded row must hold: each refusal names the file, the row, the column and what was expected."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forewarn.cli import run
from forewarn.errors import UsageError
from forewarn.replay.input import open_checks, part, read_checks, read_order, to_columns
from forewarn.replay.sort import ordered
from tests.forewarn.recorded import checks, write

TICKS = 20
TIME_RANGE = "a number from 0 to 253402300799999999 (microseconds UTC)"


def with_value(name: str, row: int, value: Any, kind: Any = None) -> pa.Table:
    """Good checks but for one value."""
    table = checks("web", locations=("ams",), ticks=TICKS)
    values = table[name].to_pylist() if name in table.column_names else [1.0] * TICKS
    values[row - 1] = value
    column = pa.array(values, kind)
    if name in table.column_names:
        return table.set_column(table.schema.get_field_index(name), name, column)
    return table.append_column(name, column)


def read_all(path: Path) -> None:
    """Read a file as a replay does."""
    source = open_checks(path)
    read_order(source)
    for batch in read_checks(source):
        to_columns(batch)


def refusal(table: pa.Table, path: Path) -> str:
    """Why a file is refused."""
    write(table, path)
    with pytest.raises(UsageError) as caught:
        read_all(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("target", None, "a name; it is null"),
        ("target", "/web", "customer/name or name, in printable characters; it is '/web'"),
        ("target", "a\nb", "customer/name or name, in printable characters; it is 'a\\nb'"),
        ("location", None, "a name; it is null"),
        ("probe", " ", "a name, in printable characters; it is ' '"),
        ("scheduled_at_us", None, "int64 microseconds UTC; it is null"),
        ("scheduled_at_us", -1, "a number from 0 to 253402300799999999 (microseconds UTC); it is -1"),
        (
            "scheduled_at_us",
            10**18,
            "a number from 0 to 253402300799999999 (microseconds UTC); it is 1000000000000000000",
        ),
        ("outcome", "up", "one of success, failure, missed; it is 'up'"),
        ("outcome", None, "one of success, failure, missed"),
        ("duration_us", -5, "microseconds, 0 or more; it is -5.0"),
        ("phase_wait_us", -5, "microseconds, 0 or more; it is -5.0"),
        ("http_status", 1000, "a number from 0 to 999; it is 1000"),
        ("metric_load", float("inf"), "a finite number; it is inf"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(tmp_path: Path, name: str, value: Any, expected: str) -> None:
    """Parquet and csv alike."""
    path = tmp_path / "checks.parquet"
    assert refusal(with_value(name, 7, value), path) == f"{path}: row 7, column {name}: expected {expected}"
    if value == "a\nb":
        return  # a csv file of ours has no line breaks inside a value
    csv = tmp_path / "checks.csv"
    assert refusal(with_value(name, 7, value), csv) == f"{csv}: row 7, column {name}: expected {expected}"


@pytest.mark.parametrize("name", ["scheduled_at_us", "duration_us", "http_status", "metric_load", "phase_wait_us"])
def test_a_text_where_a_number_belongs_is_refused(tmp_path: Path, name: str) -> None:
    """In a csv file by row; a parquet column has one type."""
    table = with_value(name, 1, 1)
    texts = ["12"] * TICKS
    texts[8] = "soon"
    table = table.set_column(table.schema.get_field_index(name), name, pa.array(texts))
    csv = tmp_path / "checks.csv"
    assert refusal(table, csv).startswith(f"{csv}: row 9, column {name}: expected a")
    assert refusal(table, csv).endswith("number; it is 'soon'")
    path = tmp_path / "checks.parquet"
    assert refusal(table, path).startswith(f"{path}: column {name}: expected")
    assert refusal(table, path).endswith("it is string")


def test_a_number_where_a_text_belongs_is_refused(tmp_path: Path) -> None:
    """A parquet column has one type."""
    table = with_value("target", 1, "x")
    table = table.set_column(0, "target", pa.array(range(TICKS)))
    path = tmp_path / "checks.parquet"
    assert refusal(table, path) == f"{path}: column target: expected text, it is int64"


def test_a_time_with_a_fraction_is_refused(tmp_path: Path) -> None:
    """Whole floats are taken, others are another unit."""
    table = with_value("scheduled_at_us", 1, 1)
    times = pa.array([1.5 + row for row in range(TICKS)])
    path = tmp_path / "checks.parquet"
    table = table.set_column(table.schema.get_field_index("scheduled_at_us"), "scheduled_at_us", times)
    assert refusal(table, path) == f"{path}: row 1, column scheduled_at_us: expected a whole number; it is 1.5"


def test_a_time_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    """Unsigned columns are taken as far as they hold times."""
    path = tmp_path / "checks.parquet"
    table = with_value("scheduled_at_us", 3, 2**64 - 1, pa.uint64())
    assert refusal(table, path) == (
        f"{path}: row 3, column scheduled_at_us: expected {TIME_RANGE}; it is 18446744073709551615"
    )
    write(with_value("scheduled_at_us", 3, 5, pa.uint64()), path)
    read_all(path)


@pytest.mark.parametrize("name", ["target", "location", "probe", "scheduled_at_us", "outcome"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_missing_column_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    """All that are required are named."""
    path = tmp_path / f"checks{suffix}"
    text = refusal(checks("web", ticks=3).drop_columns([name]), path)
    assert text == f"{path}: column {name} is missing; required are target, location, probe, scheduled_at_us, outcome"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("checks.txt", b"x", "expected a file that ends in .parquet or .csv"),
        ("checks.parquet", b"x", "Parquet file size is 1 bytes"),
        ("checks.parquet", b"no parquet at all", "Parquet magic bytes not found"),
        ("checks.csv", b"", "Empty CSV file"),
        ("checks.csv", b"target,location,probe,scheduled_at_us,outcome\na,b,c,1\n", "Expected 5 columns, got 4"),
        ("checks.csv", b"target,location,probe,scheduled_at_us,outcome\n\xff\xfe,b,c,1,success\n", "invalid UTF8"),
        ("checks.csv", b"target,target,location,probe,scheduled_at_us,outcome\n", "column target is there twice"),
    ],
)
def test_a_file_that_is_none_ends_with_one_line_and_exit_2(
    tmp_path: Path, name: str, content: bytes, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """No traceback, nothing written."""
    path = tmp_path / name
    path.write_bytes(content)
    assert run(["replay", str(path), "--out", str(tmp_path / "out")]) == 2
    printed = capfd.readouterr()
    assert expected in printed.err
    assert str(path) in printed.err
    errors = [line for line in printed.err.splitlines() if line.startswith("forewarn: ")]
    assert errors == printed.err.splitlines()[-1:], "notes on the file may stand before it"
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And so is a directory."""
    assert run(["replay", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "no such file" in capfd.readouterr().err
    (tmp_path / "dir.csv").mkdir()
    assert run(["replay", str(tmp_path / "dir.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "not a file" in capfd.readouterr().err


def test_a_wrong_row_at_the_end_leaves_earlier_results_and_nothing_half_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The outputs of the run before stay as they were."""
    good = write(checks("web", ticks=50), tmp_path / "good.parquet")
    bad = write(with_value("outcome", TICKS, "up"), tmp_path / "bad.parquet")
    out = tmp_path / "out"
    assert run(["replay", str(good), "--out", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(["replay", str(bad), "--out", str(out)]) == 2
    assert f"row {TICKS}, column outcome" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_out_that_is_a_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With its name and exit 4."""
    path = write(checks("web", ticks=5), tmp_path / "checks.parquet")
    taken = tmp_path / "taken"
    taken.touch()
    assert run(["replay", str(path), "--out", str(taken)]) == 4
    assert str(taken) in capfd.readouterr().err


def test_rows_keep_what_they_say(tmp_path: Path) -> None:
    """All columns of a row arrive at the core; what is absent is NaN or None; a missed check has no duration."""
    table = pa.table(
        {
            "target": pa.array(["web", "shop/api"]).dictionary_encode(),
            "location": ["ams", "fra"],
            "probe": ["http", "host"],
            "scheduled_at_us": pa.array([10, 20], pa.int32()),
            "started_at_us": pa.array([None, 25], pa.int64()),
            "outcome": ["failure", "missed"],
            "reason": ["timeout", ""],
            "duration_us": [5, 7],
            "phase_dns_us": pa.array([1, None], pa.int64()),
            "address": ["192.0.2.1", None],
            "http_status": pa.array([502, None], pa.int16()),
            "detail": pa.array([None, "no slot"], pa.large_string()),
            "metric_disk_free_ratio:/": [None, 0.25],
        }
    )
    source = open_checks(write(table, tmp_path / "checks.parquet"))
    (batch,) = read_checks(source)
    columns = to_columns(batch)
    assert columns.target == ["main/web", "shop/api"]
    assert (columns.location, columns.probe, columns.kind) == (["ams", "fra"], ["http", "host"], ["http", "host"])
    assert columns.scheduled_at_us.tolist() == [10, 20]
    assert columns.started_at_us.tolist() == [10, 25]
    assert columns.outcome.tolist() == [1, 2]
    assert columns.reason == ["timeout", None]
    np.testing.assert_array_equal(columns.duration_us, [5.0, np.nan])
    np.testing.assert_array_equal(columns.phases["dns"], [1.0, np.nan])
    assert set(columns.phases) == {"dns"}
    assert columns.address == ["192.0.2.1", None]
    assert columns.http_status == [502, None]
    assert columns.detail == [None, "no slot"]
    np.testing.assert_array_equal(columns.metrics["disk_free_ratio:/"], [np.nan, 0.25])
    second = part(columns, 1, 2)
    assert (len(second), second.target, second.metrics["disk_free_ratio:/"].tolist()) == (1, ["shop/api"], [0.25])


@settings(max_examples=50, deadline=None)
@given(
    times=st.lists(st.integers(0, 40), min_size=0, max_size=300),
    batch=st.integers(1, 60),
    piece=st.integers(1, 90),
)
def test_rows_are_ordered_by_time_and_then_as_they_came(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], batch: int, piece: int
) -> None:
    """However the file is cut into batches and pieces: the same as one stable sort."""
    rows = pa.RecordBatch.from_pydict(
        {"row": pa.array(range(len(times)), pa.int64()), "scheduled_at_us": pa.array(times, pa.int64())}
    )
    batches = [rows.slice(start, batch) for start in range(0, len(times), batch)]
    directory = tmp_path_factory.mktemp("pieces")
    found = [
        pair
        for out in ordered(batches, directory, piece_rows=piece, merge_rows=1)
        for pair in zip(out["scheduled_at_us"].to_pylist(), out["row"].to_pylist(), strict=True)
    ]
    assert found == sorted(zip(times, range(len(times)), strict=True))
