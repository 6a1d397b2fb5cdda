"""Rows of a file that is not ordered by time, ordered: sorted pieces on disk, then merged.

Memory holds one piece while sorting, and one batch of each piece while merging.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from forewarn.replay.rows import ROW, TIME

PIECE_ROWS: Final = 1_000_000
MERGE_ROWS: Final = 1_000_000
"""All pieces together hold about so many rows in memory while they are merged."""

LEAST_BATCH_ROWS: Final = 1_000
KEYS: Final = [(TIME, "ascending"), (ROW, "ascending")]


@dataclass(slots=True)
class _Piece:
    """A sorted piece that is being read.

    Attributes:
        head: Rows that are read and not handed out yet; None at the end.
        more: Further rows follow those of `head`.
    """

    batches: Iterator[pa.RecordBatch]
    head: pa.RecordBatch | None = None
    more: bool = True

    def fill(self) -> None:
        """Read on when nothing is left in `head`."""
        while self.more and (self.head is None or self.head.num_rows == 0):
            batch = next(self.batches, None)
            self.more = batch is not None
            self.head = batch

    def take(self, through_us: int) -> pa.RecordBatch | None:
        """Take out the rows up to a time."""
        if self.head is None:
            return None
        times = self.head.column(TIME).to_numpy()
        count = int(times.searchsorted(through_us, side="right"))
        taken, self.head = self.head.slice(0, count), self.head.slice(count)
        return taken if count else None


def ordered(
    batches: Iterable[pa.RecordBatch], directory: Path, *, piece_rows: int = PIECE_ROWS, merge_rows: int = MERGE_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows ordered by (time, row).

    Args:
        batches: In normal form, of one schema.
        directory: Gets the pieces; the caller removes it.
        piece_rows: Rows sorted at once.
        merge_rows: Rows held at once while merging.
    """
    # Batches must be small enough that all pieces fit, and how many pieces there will be is known only at the end.
    paths = list(_write_pieces(batches, directory, piece_rows))
    batch_rows = max(merge_rows // max(len(paths), 1), LEAST_BATCH_ROWS)
    pieces = [_Piece(_read_piece(path, batch_rows)) for path in paths]
    while True:
        for piece in pieces:
            piece.fill()
        pieces = [piece for piece in pieces if piece.head is not None]
        if not pieces:
            return
        # Nothing that is still on disk is earlier than the last row that its piece has in memory.
        through_us = min(piece.head.column(TIME)[-1].as_py() for piece in pieces if piece.head is not None)
        taken = [rows for piece in pieces if (rows := piece.take(through_us)) is not None]
        yield from pa.Table.from_batches(taken).sort_by(KEYS).combine_chunks().to_batches()


def _write_pieces(batches: Iterable[pa.RecordBatch], directory: Path, piece_rows: int) -> Iterator[Path]:
    held: list[pa.RecordBatch] = []
    rows = number = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= piece_rows:
            yield _write_piece(held, directory / f"piece-{number}.arrow")
            held, rows, number = [], 0, number + 1
    if held:
        yield _write_piece(held, directory / f"piece-{number}.arrow")


def _write_piece(held: list[pa.RecordBatch], path: Path) -> Path:
    table: Any = pa.Table.from_batches(held)
    places = pc.sort_indices(table, sort_keys=KEYS)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        for start in range(0, table.num_rows, LEAST_BATCH_ROWS * 8):
            writer.write_table(table.take(places.slice(start, LEAST_BATCH_ROWS * 8)).combine_chunks())
    return path


def _read_piece(path: Path, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, batch_rows):
                yield batch.slice(start, batch_rows)
