"""Config versions: an accepted config gets a number, in the log (`actions`) and in the store (`config_versions`)."""

import getpass
import os
from dataclasses import dataclass
from typing import Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

import streams.codec
from analytics.client import connect, store_errors
from analytics.insert import Inserter
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import CONFIG_VERSIONS
from forewarn.places import now_us
from producers import log_client
from producers.log import read_epochs
from producers.settings import LogSettings
from producers.topics import ACTIONS, Position
from streams.contract import VERSION, Action, derived_id

_LATEST: Final = (
    f"SELECT config_version, text FROM {CONFIG_VERSIONS.name} ORDER BY config_version DESC, stored_at DESC LIMIT 1"  # noqa: S608 - the table's name is a constant
)
_ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigVersion:
    """The version that a config has.

    Attributes:
        new: False if the newest version was this very config already.
    """

    number: int
    new: bool


def record_config(text: str, log: LogSettings, store: StoreSettings) -> ConfigVersion:
    """Record an accepted config and return its version; the same config again is no new version.

    Args:
        text: The config with its secrets masked.

    Raises:
        ForewarnError: Log or store are away or refuse.
    """
    number, newest = _newest(store)
    if newest == text:
        return ConfigVersion(number=number, new=False)
    at_us = now_us()
    action = Action(
        v=VERSION,
        id=derived_id("configure", number + 1, text),
        kind="configure",
        at_us=at_us,
        person=person(),
        text=text,
        config_version=number + 1,
        effective_from_us=at_us,
    )
    position = _publish(action, log)
    _store(action, position, store)
    return ConfigVersion(number=number + 1, new=True)


def _newest(store: StoreSettings) -> tuple[int, str | None]:
    with store_errors(store):
        client = connect(store)
        rows = client.query(_LATEST).result_rows
        client.close()
    return (int(rows[0][0]), str(rows[0][1])) if rows else (0, None)


def _publish(action: Action, log: LogSettings) -> Position:
    epoch = read_epochs(log, [ACTIONS])[ACTIONS]
    producer = log_client.connect(KafkaProducer, log)
    try:
        sent = producer.send(ACTIONS, value=streams.codec.encode(action), partition=0)
        offset = int(sent.get(timeout=_ANSWER_S).offset)
    except KafkaError as error:
        raise log_client.log_error(error, log) from error
    finally:
        producer.close()
    return Position(epoch=epoch, topic=ACTIONS, partition=0, offset=offset)


def _store(action: Action, position: Position, store: StoreSettings) -> None:
    """Insert the rows that the sink will insert too: they replace each other, and nobody waits for the sink."""
    session = Session(store)
    try:
        for rows in rows_of(action, position):
            Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))
    finally:
        session.close()


def person() -> str:
    """Return who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"
