"""`forewarn migrate`: creates or updates topics and tables, and records the config as a numbered version."""

import sys
from pathlib import Path

import analytics.migrate
from forewarn.config.config import load
from forewarn.places import RESENT_DIRECTORY, find_log, find_store
from forewarn.versions import record_config
from producers.log import create_topics
from producers.topics import ALL_TOPICS


def migrate(config_file: Path, data_dir: Path) -> None:
    """Do it, and say what was done. Safe to repeat.

    It runs wherever an embedded broker begins with an empty log, so what that lost of dead letters is sent here.

    Raises:
        ForewarnError: The config is refused; log or store are away or refuse.
    """
    config = load(config_file, parts=("log", "store"))
    config.check_channels()
    log, store = find_log(config, data_dir), find_store(config, data_dir)
    create_topics(log)
    _say("topics", f"{len(ALL_TOPICS)} there, {log.partitions} partitions for checks")
    applied = analytics.migrate.migrate(store)
    _say("tables", f"applied {', '.join(applied)}" if applied else "up to date")
    version = record_config(config.to_masked_text(), log, store)
    if log.forgetful and (data_dir / RESENT_DIRECTORY).is_dir():
        from forewarn.resend import send_to_new_log  # noqa: PLC0415 - it loads much, and is rarely needed

        said = send_to_new_log(data_dir, log, store)
        if said is not None:
            _say("letters", said)  # `up` repeats this line
    _say("config", f"version {version.number}{'' if version.new else ', unchanged'}")


def _say(what: str, text: str) -> None:
    sys.stdout.write(f"{what:<8}{text}\n")
