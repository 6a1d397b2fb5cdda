"""Checks of several messages as one, so that numpy's cost of a call is paid once for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np

from producers.contract import CheckColumns
from streams.core.table import Floats

_T = TypeVar("_T")


def joined(parts: Sequence[CheckColumns]) -> CheckColumns:
    """Return the checks of parts in their order; what a part does not have as a column is NaN in its rows."""
    counts = [len(part) for part in parts]
    return CheckColumns(
        target=_chained(part.target for part in parts),
        probe=_chained(part.probe for part in parts),
        kind=_chained(part.kind for part in parts),
        location=_chained(part.location for part in parts),
        scheduled_at_us=np.concatenate([part.scheduled_at_us for part in parts]),
        started_at_us=np.concatenate([part.started_at_us for part in parts]),
        duration_us=np.concatenate([part.duration_us for part in parts]),
        outcome=np.concatenate([part.outcome for part in parts]),
        reason=_chained(part.reason for part in parts),
        address=_chained(part.address for part in parts),
        http_status=_chained(part.http_status for part in parts),
        phases=_aligned([part.phases for part in parts], counts),
        metrics=_aligned([part.metrics for part in parts], counts),
        detail=_chained(part.detail for part in parts),
        disturbed=np.concatenate([part.disturbed for part in parts]),
    )


def _chained(columns: Iterable[list[_T]]) -> list[_T]:
    return list(chain.from_iterable(columns))


def _aligned(parts: Sequence[Mapping[str, Floats]], counts: Sequence[int]) -> dict[str, Floats]:
    names = dict.fromkeys(chain.from_iterable(parts))
    nothing = [np.full(count, np.nan) for count in counts]
    return {
        name: np.concatenate([part.get(name, none) for part, none in zip(parts, nothing, strict=True)])
        for name in names
    }
