"""What is sure without knowing what is normal: failures in a row, what expires, disks that run out.

A detector that has to begin without its state knows no baseline, and must not say that anything is back to normal:
only the true state knows what was off before. So neither warnings of what is unusual nor recoveries are told.
"""

from typing import Final

import msgspec

from streams.contract import TickSummary, Verdict
from streams.core.outputs import Outputs

KINDS: Final = frozenset({"failing", "partial_failure", "forecast"})
"""Of reasons: they need no baseline."""


def sure(outputs: Outputs) -> Outputs:
    """Return what may be published of the outputs of a detector that began with nothing, marked as provisional.

    Summaries always may.
    """
    told = (one if isinstance(one, TickSummary) else _sure_verdict(one) for one in outputs.verdicts)
    return Outputs(
        deviations=[
            msgspec.structs.replace(one, provisional=True)
            for one in outputs.deviations
            if one.detector == "forecast" and one.active
        ],
        verdicts=[one for one in told if one is not None],
        late=outputs.late,
        redelivered=outputs.redelivered,
    )


def _sure_verdict(verdict: Verdict) -> Verdict | None:
    reasons = [reason for reason in verdict.reasons if reason.kind in KINDS]
    return msgspec.structs.replace(verdict, reasons=reasons, provisional=True) if reasons else None
