"""pyarrow without pandas: half a second and 40 MB that nothing here uses."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder


def leave_pandas_out() -> None:
    """Let pyarrow find no pandas, once and for all. Call it before the first array is made.

    `pyarrow.array(a list)` imports pandas if it is installed, only to see whether the list is one of its own; it
    looks once and remembers. Who imports pandas afterwards can use it, but pyarrow does not convert to it any more.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa  # noqa: PLC0415 - not before it is known to be of use

    sys.meta_path.insert(0, refusal := _NoPandas())
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(refusal)


class _NoPandas(MetaPathFinder):
    # Not None in sys.modules: pyarrow's compiled import would take that for the module.
    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:  # noqa: ARG002 - the interface
        if name == "pandas":
            raise ModuleNotFoundError("left out", name=name)
