"""Recorded checks in, deviations and incidents out, through the command line as a user runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from forewarn.cli import run
from forewarn.replay.drive import Policies
from forewarn.replay.replay import ReplayResult, replay
from tests.forewarn.recorded import SECOND, START_US, between, by_time, checks, ramp, write

INTERVAL_US = 30 * SECOND
COLUMNS = [
    "incident_id", "target", "location", "kind", "opened_at_us", "warned_at_us", "outage_at_us", "resolved_at_us",
    "severity", "page", "cause",
]  # fmt: skip


def play(
    table: pa.Table, directory: Path, *, suffix: str = ".parquet"
) -> tuple[list[dict[str, Any]], ReplayResult, list[str]]:
    """Replay a table; return the incidents, the counts and what was told."""
    told: list[str] = []
    path = write(table, directory / f"checks{suffix}")
    result = replay(path, directory / "out", Policies(), tell=told.append, advance=lambda _done, _of: None)
    return pq.read_table(directory / "out" / "incidents.parquet").to_pylist(), result, told


def tick(at_us: int | None) -> float | None:
    """The number of the tick."""
    return None if at_us is None else (at_us - START_US) / INTERVAL_US


def stages(incident: dict[str, Any]) -> tuple[str, float | None, float | None, float | None]:
    """Kind and ticks: warned, outage, resolved."""
    warned, outage, resolved = (tick(incident[f"{stage}_at_us"]) for stage in ("warned", "outage", "resolved"))
    return incident["kind"], warned, outage, resolved


def test_what_may_be_a_mistake_is_told(tmp_path: Path) -> None:
    """No durations, and times in seconds: the file is replayed, and both are said."""
    table = by_time(checks("web", ticks=40))
    assert play(table, tmp_path)[2] == []
    seconds = pc.divide(table["scheduled_at_us"], 1_000_000)
    odd = table.drop_columns(["duration_us"])
    odd = odd.set_column(odd.schema.get_field_index("scheduled_at_us"), "scheduled_at_us", seconds)
    _, result, told = play(odd, tmp_path)
    assert result.rows == table.num_rows
    assert [line.partition(": ")[2] for line in told] == [
        "there is no column duration_us: no latency is judged",
        "the times end on 1970-01-01: is scheduled_at_us in microseconds?",
    ]


def test_a_slow_down_is_warned_of_before_the_outage(tmp_path: Path) -> None:
    """One incident: warned on the ramp, an outage on the third failing tick, resolved after two healthy ones."""
    ramped = checks("shop/web", ticks=700, latency=ramp(300, 450, 9), fails=between(450, 480, 1.0))
    calm = checks("shop/calm", ticks=700, seed=2)
    (incident,), result, _ = play(by_time(ramped, calm), tmp_path)
    kind, warned, outage, resolved = stages(incident)
    assert kind == "outage"
    assert warned is not None
    assert 300 < warned < 400
    assert outage == 452
    assert resolved is not None
    assert 481 <= resolved < 500
    assert (incident["target"], incident["location"], incident["page"]) == ("shop/web", None, True)
    assert incident["severity"] == "critical"
    assert incident["began_at_us"] == START_US + 450 * INTERVAL_US
    assert "http_status 502" in incident["cause"]
    assert (result.rows, result.targets, result.series) == (2800, 2, 4)
    assert result.paged == 1


def test_the_columns_are_those_that_were_promised(tmp_path: Path) -> None:
    """In this order first; times are int64, `page` is a boolean; other columns may follow."""
    play(checks("web", ticks=100), tmp_path)
    schema = pq.read_schema(tmp_path / "out" / "incidents.parquet")
    assert schema.names[: len(COLUMNS)] == COLUMNS
    assert {str(schema.field(name).type) for name in COLUMNS if name.endswith("_at_us")} == {"int64"}
    assert str(schema.field("page").type) == "bool"
    deviations = pq.read_schema(tmp_path / "out" / "deviations.parquet")
    assert deviations.names[:6] == ["v", "id", "target", "probe", "location", "metric"]


def test_a_certificate_and_a_disk_are_forecast_beside_the_service(tmp_path: Path) -> None:
    """Two targets, two early warnings with their own subjects; neither is an outage."""
    table = by_time(
        checks("shop/cert", probe="tls", ticks=300, metrics={"tls_days_left": lambda n: 9 - n * 30 / 86_400}),
        checks("shop/disk", probe="host", ticks=300, metrics={"disk_free_ratio": lambda n: 0.5 - n * 0.001}),
    )
    incidents, _, _ = play(table, tmp_path)
    found = {(one["target"], one["kind"], one["subject"], one["page"]) for one in incidents}
    assert found == {
        ("shop/cert", "early_warning", "tls_days_left", False),
        ("shop/disk", "early_warning", "disk_free_ratio", False),
    }
    assert "certificate has 9.0 days left" in next(one["cause"] for one in incidents if one["target"] == "shop/cert")


def test_a_locations_trouble_is_one_incident_and_pages_nobody(tmp_path: Path) -> None:
    """Three targets fail from ams; fra and nyc see them well."""
    names, three = ("shop/api", "shop/blog", "shop/web"), ("ams", "fra", "nyc")
    table = by_time(
        *(
            checks(
                name,
                locations=three,
                ticks=200,
                fails=between(100, 140, 1.0),
                fails_at=["ams"],
                seed=seed,
            )
            for seed, name in enumerate(names)
        )
    )
    (trouble,), result, _ = play(table, tmp_path)
    assert (trouble["kind"], trouble["target"], trouble["location"], trouble["page"]) == (
        "location_trouble",
        None,
        "ams",
        False,
    )
    assert (tick(trouble["opened_at_us"]), tick(trouble["resolved_at_us"])) == (101, 142)
    assert (trouble["warned_at_us"], trouble["outage_at_us"]) == (None, None)
    assert result.paged == 0


def test_the_end_of_a_file_is_not_a_silence(tmp_path: Path) -> None:
    """Nothing is said about the time after the last row; a location that stops within the file is silent."""
    long, short = checks("shop/web", ticks=200), checks("shop/api", ticks=200, seed=2)
    assert play(by_time(long, short), tmp_path)[0] == []
    stops = short.filter(pa.compute.less(short["scheduled_at_us"], START_US + 100 * INTERVAL_US))
    incidents, _, _ = play(by_time(long, stops), tmp_path)
    (silence,) = incidents
    assert (silence["kind"], silence["location"], silence["locations"]) == ("silence", "ams", ["ams", "fra"])
    assert "seen by nobody" in silence["cause"]


def test_the_last_ticks_are_judged(tmp_path: Path) -> None:
    """An outage whose third failing tick is the file's last one is there."""
    (incident,), _, _ = play(checks("shop/web", ticks=103, fails=between(100, 103, 1.0)), tmp_path)
    assert stages(incident) == ("outage", None, 102, None)


def story() -> pa.Table:
    """A few targets with all kinds of incidents."""
    return by_time(
        checks("shop/web", ticks=500, latency=ramp(200, 300, 9), fails=between(300, 320, 1.0)),
        checks("shop/api", ticks=500, fails=between(400, 430, 1.0), fails_at=["ams"], seed=2),
        checks("calm", ticks=500, seed=3),
        checks("shop/disk", probe="host", ticks=500, metrics={"disk_free_ratio": lambda n: 0.5 - n * 0.001}, seed=4),
    )


def outputs(directory: Path) -> dict[str, bytes]:
    """The bytes of all files of a replay, by name."""
    return {path.name: path.read_bytes() for path in sorted((directory / "out").iterdir())}


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """Twice into one directory; nothing else is left there."""
    play(story(), tmp_path)
    first = outputs(tmp_path)
    play(story(), tmp_path)
    assert outputs(tmp_path) == first
    assert list(first) == ["deviations.parquet", "incidents.parquet"]


@pytest.mark.parametrize("order", [["target", "location", "scheduled_at_us"], ["location", "scheduled_at_us"]])
def test_a_file_that_is_ordered_only_within_each_series_gives_the_same(tmp_path: Path, order: list[str]) -> None:
    """Files that were put together target by target are sorted first, and that is said."""
    play(story(), tmp_path)
    expected = outputs(tmp_path)
    _, _, told = play(story().sort_by([(name, "ascending") for name in order]), tmp_path)
    assert outputs(tmp_path) == expected
    assert any("not ordered by scheduled_at_us" in line for line in told)


def test_a_csv_file_gives_the_same_as_a_parquet_file(tmp_path: Path) -> None:
    """Numbers, nulls and texts alike."""
    play(story(), tmp_path)
    expected = outputs(tmp_path)
    _, _, told = play(story(), tmp_path, suffix=".csv")
    assert outputs(tmp_path) == expected
    assert told == []


def test_rows_that_are_there_twice_count_once(tmp_path: Path) -> None:
    """The same incidents, and the count says so."""
    play(story(), tmp_path)
    expected = outputs(tmp_path)
    _, result, _ = play(by_time(story(), story().slice(100, 50)), tmp_path)
    assert outputs(tmp_path) == expected
    assert result.redelivered == 50


def test_what_pandas_makes_of_integers_with_nulls_is_taken(tmp_path: Path) -> None:
    """A missed check has no duration: the whole column is floats then, NaN where it is missing."""
    table = story()
    outcome = np.array(table["outcome"].to_pylist(), dtype=object)
    outcome[::97] = "missed"
    duration = table["duration_us"].to_numpy().astype(float)
    duration[::97] = np.nan
    kept = table.drop_columns(["outcome", "duration_us", "http_status"])
    whole = kept.append_column("outcome", pa.array(outcome.tolist())).append_column("duration_us", pa.array(duration))
    _, result, _ = play(whole.append_column("http_status", table["http_status"].cast(pa.float64())), tmp_path)
    as_floats = outputs(tmp_path)
    nulls = pa.array(duration, from_pandas=True).cast(pa.int64())
    exact = kept.append_column("outcome", pa.array(outcome.tolist())).append_column("duration_us", nulls)
    play(exact.append_column("http_status", table["http_status"]), tmp_path)
    assert outputs(tmp_path) == as_floats
    assert result.rows == table.num_rows


def test_only_the_required_columns_are_enough(tmp_path: Path) -> None:
    """An outage needs no duration."""
    table = checks("web", ticks=200, fails=between(100, 120, 1.0))
    (incident,), _, _ = play(table.select(["target", "location", "probe", "scheduled_at_us", "outcome"]), tmp_path)
    assert (incident["target"], incident["kind"]) == ("main/web", "outage")


def test_a_file_without_rows_gives_empty_outputs(tmp_path: Path) -> None:
    """No row, no incident, no error."""
    assert play(story().slice(0, 0), tmp_path)[0] == []
    assert pq.read_table(tmp_path / "out" / "deviations.parquet").num_rows == 0


def test_a_long_gap_is_passed_without_counting_every_slot(tmp_path: Path) -> None:
    """Two years between two parts of a file: silent in between, and judged as ever after it."""
    early = checks("web", ticks=100)
    late = checks("web", ticks=200, fails=between(100, 120, 1.0), seed=2)
    moved = pa.compute.add(late["scheduled_at_us"], 730 * 86_400 * SECOND)
    late = late.set_column(late.schema.get_field_index("scheduled_at_us"), "scheduled_at_us", moved)
    incidents, _, _ = play(by_time(early, late), tmp_path)
    assert {one["kind"] for one in incidents} == {"silence", "outage"}
    silences = [one for one in incidents if one["kind"] == "silence"]
    assert all(one["resolved_at_us"] == START_US + 730 * 86_400 * SECOND for one in silences)


def test_the_command_prints_what_came_of_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Counts on stdout, notes on stderr, exit 0."""
    path = write(story().append_column("surprise", pa.array(range(4000))), tmp_path / "checks.parquet")
    assert run(["replay", str(path), "--out", str(tmp_path / "made" / "out")]) == 0
    printed = capfd.readouterr()
    assert "checks      4,000 of 4 targets, 10 series" in printed.out
    assert "1 outage" in printed.out
    assert "ignored columns that are not known: surprise" in printed.err
    assert sorted(one.name for one in (tmp_path / "made" / "out").iterdir()) == [
        "deviations.parquet",
        "incidents.parquet",
    ]


def test_a_config_changes_how_it_is_judged(tmp_path: Path) -> None:
    """Five failing ticks instead of three; targets that it does not name get its policy too."""
    config = tmp_path / "forewarn.yaml"
    config.write_text(
        "locations: [{name: ams}, {name: fra}]\n"
        "targets: [{name: web, customer: shop, probes: [{http: {url: 'https://shop.example/'}}]}]\n"
        "incidents: {failure_ticks: 5}\n"
    )
    with config.open("a") as more:  # whose secrets a replay does not need
        more.write("alerts: {channels: [{name: ops, webhook: '${A_VARIABLE_THAT_NOBODY_SET}'}]}\n")
    path = write(checks("shop/web", ticks=200, fails=between(100, 120, 1.0)), tmp_path / "checks.parquet")
    assert run(["replay", str(path), "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    (incident,) = pq.read_table(tmp_path / "out" / "incidents.parquet").to_pylist()
    assert stages(incident)[2] == 104
