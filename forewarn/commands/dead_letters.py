"""`forewarn dead-letters`: messages that could not be used, from the store's table; and sending them again."""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from analytics.client import connect, store_errors
from analytics.settings import StoreSettings
from forewarn.config.config import Part
from forewarn.config.text import parse_duration
from forewarn.errors import CommandError, UsageError
from forewarn.output import cell, console, print_line, table
from forewarn.places import RESENT_DIRECTORY, find_log, load_if_there, now_us, open_store
from forewarn.resend import Chosen, Letter, Resender, UnsendableError, chosen_of, letter_of, open_resender
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS

LETTERS_A_ROUND: Final = 200
TOLD_UNSENT: Final = 3
_PARTS: Final[tuple[Part, ...]] = ("log", "store")

_SHOWN: Final = """
SELECT at, source_topic, source_partition, source_offset, source_epoch, reason, detail, group_name, payload_bytes, id,
    replays, replayed_at
FROM dead_letters
WHERE replays = 0 OR %(replayed)s
ORDER BY at DESC, id
LIMIT %(limit)s
"""
_CHOSEN: Final = """
SELECT id, source_topic, replays FROM dead_letters
WHERE (id IN %(ids)s OR %(any_id)s) AND (source_topic = %(topic)s OR %(any_topic)s)
    AND (reason = %(reason)s OR %(any_reason)s) AND at >= fromUnixTimestamp64Micro(%(since)s, 'UTC')
ORDER BY source_topic, source_partition, source_epoch, source_offset, id
"""
_LETTERS: Final = """
SELECT id, source_topic, source_epoch, source_partition, source_offset, reason, source_key, payload, payload_bytes,
    replays
FROM dead_letters WHERE id IN %(ids)s
ORDER BY source_topic, source_partition, source_epoch, source_offset, id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which dead letters are meant: all that fulfil everything that is given.

    Attributes:
        ids: Of the letters; none: any.
        since: ISO 8601, or a duration such as 2h: refused since then.
        everything: Nothing else needs be given.
    """

    ids: Sequence[str] = ()
    topic: str | None = None
    reason: str | None = None
    since: str | None = None
    everything: bool = False

    @property
    def given(self) -> bool:
        """Whether anything is."""
        return bool(self.ids) or self.everything or not (self.topic is self.reason is self.since is None)


def dead_letters(config_file: Path, data_dir: Path, *, limit: int, replayed: bool, as_json: bool) -> None:
    """Print the newest dead letters, the newest first: those that are open, or with `replayed` all.

    Raises:
        ForewarnError: The store is away or refuses.
    """
    parameters = {"limit": limit, "replayed": int(replayed)}
    with open_store(config_file, data_dir) as store:
        rows = _query(_SHOWN, parameters, store)
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row, default=cell, ensure_ascii=False) + "\n")
    elif not rows:
        print_line("no dead letters")
    else:
        _print_table(rows, replayed=replayed)


def _print_table(rows: list[dict[str, Any]], *, replayed: bool) -> None:
    headings = [("id", False), ("at (UTC)", False), ("position", False), ("reason", False), ("bytes", True)]
    again = [("sent again", False)] if replayed else []
    shown = table([*headings, *again, ("detail", False)])
    for row in rows:
        position = f"{row['source_topic']}[{row['source_partition']}]@{row['source_offset']}"
        at = row["at"].strftime("%Y-%m-%d %H:%M:%S")
        cells = [row["id"], at, position, row["reason"], f"{row['payload_bytes']:,}"]
        shown.add_row(*cells, *([cell(row["replayed_at"])] if replayed else []), row["detail"])
    console().print(shown)


def replay(config_file: Path, data_dir: Path, choice: Choice, *, edit: Path | None, again: bool) -> None:
    """Send dead letters again, and print which.

    Args:
        choice: Which; with nothing given only what an earlier call left in its outbox.
        edit: A file with the message to send instead, of one letter.
        again: Also those that were sent again before.

    Raises:
        UsageError: Nothing is chosen, or `edit` with other than one id.
        CommandError: A letter is not there, was sent again before, or cannot be sent; then the others were.
        ForewarnError: Log or store are away or refuse.
    """
    if edit is not None and len(choice.ids) != 1:
        raise UsageError("--edit is the message of one dead letter: name it with --id")
    value = None if edit is None else _read(edit)
    config = load_if_there(config_file, parts=_PARTS)
    log = find_log(config, data_dir)
    with (
        open_store(config_file, data_dir) as store,
        open_resender(data_dir, log, store) as resender,
    ):
        left = resender.unsent()
        if not choice.given and not left:
            raise UsageError("say which dead letters: --id, --topic, --reason, --since, or --all")
        if left:
            print_line(f"{left} messages of an earlier call are sent, too")
        ids, topics = _chosen(choice, store, again=again) if choice.given else ([], set())
        resender.start(topics)
        unsent: list[str] = []
        for start in range(0, len(ids), LETTERS_A_ROUND):
            letters = _letters(ids[start : start + LETTERS_A_ROUND], store)
            unsent += _send(letters, resender, log, edit=value)
        resender.finish()
        _say_set_aside(resender.set_aside, data_dir)
    print_line(f"{len(ids) - len(unsent)} dead letters sent again")
    if unsent:
        more = f"; and {len(unsent) - TOLD_UNSENT} more, listed above" if len(unsent) > TOLD_UNSENT else ""
        raise CommandError("; ".join(unsent[:TOLD_UNSENT]) + more)


def _send(letters: Sequence[Letter], resender: Resender, log: LogSettings, *, edit: bytes | None) -> list[str]:
    """Send what can be sent, print what became of each, and return why others were not."""
    chosen: list[Chosen] = []
    unsent: dict[str, str] = {}
    for letter in letters:
        try:
            chosen.append(chosen_of(letter, log, edit=edit))
        except UnsendableError as error:
            unsent[letter.id] = str(error)
    refused = resender.send(chosen) if chosen else {}
    names = {one.letter.id: one.letter for one in chosen}
    unsent |= {name: f"the dead letter {names[name]}: {why}" for name, why in refused.items()}
    edited = ", edited" if edit is not None else ""
    for letter in letters:
        if letter.id in unsent:
            print_line(f"not sent  {unsent[letter.id]}")
        else:
            print_line(f"sent  {letter.id}  {letter.topic}[{letter.partition}]  {letter.reason}{edited}")
    return list(unsent.values())


def _say_set_aside(count: int, data_dir: Path) -> None:
    if count:
        print_line(
            f"{count} messages are refused for good by the log, and kept in {data_dir / RESENT_DIRECTORY}/refused"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _chosen(choice: Choice, store: StoreSettings, *, again: bool) -> tuple[list[str], set[str]]:
    """Return the ids of the letters in the order of the log, and their topics."""
    parameters = {
        "ids": tuple(choice.ids) or ("",),
        "any_id": int(not choice.ids),
        "topic": _topic(choice.topic),
        "any_topic": int(choice.topic is None),
        "reason": choice.reason or "",
        "any_reason": int(choice.reason is None),
        "since": 0 if choice.since is None else _since_us(choice.since),
    }
    rows = _query(_CHOSEN, parameters, store)
    missing = sorted(set(choice.ids) - {row["id"] for row in rows})
    if missing:
        raise CommandError(f"there is no such dead letter: {', '.join(missing)}")
    done = [row["id"] for row in rows if row["replays"]]
    if done and choice.ids and not again:
        raise CommandError(f"sent again before: {', '.join(done)}; --again sends it once more")
    taken = [row for row in rows if again or not row["replays"]]
    return [row["id"] for row in taken], {row["source_topic"] for row in taken}


def _letters(ids: Sequence[str], store: StoreSettings) -> list[Letter]:
    return [letter_of(row) for row in _query(_LETTERS, {"ids": tuple(ids)}, store)]


def _query(sql: str, parameters: dict[str, Any], store: StoreSettings) -> list[dict[str, Any]]:
    with store_errors(store), closing(connect(store)) as client:
        result = client.query(sql, parameters=parameters)
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def _topic(name: str | None) -> str:
    """Return a topic's full name; `checks` is `checks.v1`."""
    if name is None:
        return ""
    for topic in ALL_TOPICS:
        if name in (topic, topic.rpartition(".")[0]):
            return topic
    raise UsageError(f"there is no topic {name}: {', '.join(topic.rpartition('.')[0] for topic in ALL_TOPICS)}")


def _since_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000_000)
    try:
        duration_us = parse_duration(text)
    except ValueError:
        raise UsageError(f"'{text}' is no time: 2026-10-01T12:00 (UTC), or how long ago, such as 2h") from None
    assert isinstance(duration_us, int)
    return now_us() - duration_us
