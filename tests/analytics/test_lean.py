"""What a process loads: judging workers no pyarrow, the sink no pandas."""

import subprocess
import sys

import pytest

from analytics.settings import StoreSettings

JUDGING = (
    "import forewarn.commands.worker, streams.detect, streams.incidents, streams.alerts, forewarn.commands.producer"
)
IMPORT = "from analytics.lean_arrow import leave_pandas_out"


def loaded(code: str, *names: str) -> list[str]:
    """Return which of these modules a process has loaded after this code."""
    asked = f"{code}\nimport sys\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_judging_workers_and_producers_load_neither_arrow_nor_pandas() -> None:
    """They keep one row now and then, and 35 MB each would be for that alone."""
    assert loaded(JUDGING, "pyarrow", "pandas", "numpy") == ["numpy"]


def test_keeping_states_and_marks_loads_neither(database: StoreSettings) -> None:
    """Not even in a client's first insert and first query, which look for such libraries."""
    code = f"""
from analytics.marks import ClickHouseMarks, Mark
from analytics.settings import StoreSettings
from analytics.state import ClickHouseStateStore
from streams.contract import Snapshot, payload_checksum
settings = StoreSettings(url={database.url!r}, token={database.token!r}, database={database.database!r})
states = ClickHouseStateStore(settings)
kept = Snapshot(group="g", partition=0, positions=(("t", 0, "e", 1),), taken_at_us=1, code="c", payload=b"p",
                checksum=payload_checksum(b"p"))
states.save(kept)
assert list(states.load("g", 0)) == [kept]
marks = ClickHouseMarks(settings)
marks.keep_marks([Mark("a", "deviations.v1", 0, 1, "e")])
assert marks.stored_marks("a") == {{("deviations.v1", 0): 1}}
"""
    assert loaded(code, "pyarrow", "pandas", "polars") == []


@pytest.mark.parametrize(
    ("first", "expected"),
    [("leave_pandas_out()", []), ("pass", ["pandas"]), ("import pandas; leave_pandas_out()", ["pandas"])],
)
def test_arrays_are_made_without_pandas(first: str, expected: list[str]) -> None:
    """Pyarrow alone would import it at its first array; who has it already keeps it."""
    code = f"{IMPORT}\n{first}\nimport pyarrow as pa\nassert len(pa.array([1, 2])) == 2"
    assert loaded(code, "pandas") == expected


def test_pandas_can_be_imported_afterwards() -> None:
    """Nothing is left behind that would break somebody else's import."""
    code = f"{IMPORT}\nleave_pandas_out()\nimport pandas\nassert pandas.Series([1]).sum() == 1"
    assert loaded(code, "pandas") == ["pandas"]
