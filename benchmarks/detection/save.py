"""Installations as files: what `forewarn replay` reads, and the truth beside it."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from benchmarks.detection.scenario import Scenario
from benchmarks.detection.systems import columns_of
from producers.contract import OUTCOME_CODES


def save(scenario: Scenario, folder: Path) -> None:
    """Write an installation's checks as a file for `forewarn replay`, and the truth about it."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = columns_of(scenario, scenario.start_us, scenario.end_us)
    assert columns is not None
    outcomes = {code: name for name, code in OUTCOME_CODES.items()}
    named = {
        "target": columns.target,
        "probe": columns.probe,
        "location": columns.location,
        "scheduled_at_us": columns.scheduled_at_us,
        "outcome": [str(outcomes[code]) for code in columns.outcome.tolist()],
        "reason": columns.reason,
        "duration_us": columns.duration_us,
        "address": columns.address,
        "http_status": pa.array(columns.http_status, pa.int64()),
        **{f"phase_{phase}_us": values for phase, values in columns.phases.items()},
        **{f"metric_{metric}": values for metric, values in columns.metrics.items()},
    }
    pa.parquet.write_table(pa.table(named), folder / f"{scenario.name}.parquet", compression="zstd")
    faults = [asdict(fault) | {"kind": fault.kind.name, "warnable": fault.warnable} for fault in scenario.faults]
    truth = {"faults": faults, "traps": [asdict(trap) for trap in scenario.traps]}
    (folder / f"{scenario.name}.json").write_text(json.dumps(truth, indent=1))
