"""How fast checks are decoded, beside `json.loads` on the same bytes in the same run: `python -m benchmarks.decode`.

`decode` is everything that a reader of `checks` does with a message: typed decode into a CheckBatch, and all
checks of its values. `columns` turns it into numpy arrays. `--quick` runs for a few seconds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

from producers.codec import columns, decode, encode, pack
from producers.contract import MAX_BATCH_CHECKS, PHASES, Check, CheckBatch, Outcome

NOW_US = 1_800_000_000_000_000


def batch(*, phases: bool) -> bytes:
    """Return a full message of successful http checks."""
    checks = [
        Check(
            target=f"main/site-{row}",
            probe="http",
            kind="http",
            location="paris",
            scheduled_at_us=NOW_US + row * 1000,
            started_at_us=NOW_US + row * 1000 + 333,
            duration_us=80_000 + row,
            outcome=Outcome.SUCCESS,
            address=f"192.0.2.{row % 250}",
            http_status=200,
            phases=dict.fromkeys(PHASES, 1000 + row) if phases else {},
        )
        for row in range(MAX_BATCH_CHECKS)
    ]
    return encode(pack(checks, producer="paris-1"))


def rate(action: Callable[[], object], seconds: float) -> float:
    """Return the best of five rounds, million checks a second."""
    best = 0.0
    for _ in range(5):
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds / 5:
            for _ in range(50):
                action()
            count += 50
        best = max(best, count * MAX_BATCH_CHECKS / took / 1e6)
    return round(best, 3)


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    seconds = 1.0 if parser.parse_args().quick else 5.0
    found: dict[str, object] = {"benchmark": "decode", "unit": "million checks a second, one core"}
    for name, raw in (("with_phases", batch(phases=True)), ("without_phases", batch(phases=False))):
        decoded = decode(raw, log_timestamp_us=NOW_US)
        assert isinstance(decoded, CheckBatch)
        rates = {
            "bytes_a_check": round(len(raw) / MAX_BATCH_CHECKS, 1),
            "decode": rate(lambda raw=raw: decode(raw, log_timestamp_us=NOW_US), seconds),  # type: ignore[misc]
            "columns": rate(lambda decoded=decoded: columns(decoded), seconds),  # type: ignore[misc]
            "json_loads": rate(lambda raw=raw: json.loads(raw), seconds),  # type: ignore[misc]
        }
        rates["decode_to_json_loads"] = round(rates["decode"] / rates["json_loads"], 2)
        sys.stdout.write(f"{name}: {rates}\n")
        found[name] = rates
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
