"""Every log in a data directory has a bound, also while its process runs."""

from pathlib import Path

import pytest

from forewarn.embedded import logs
from forewarn.embedded.broker import TansuBroker
from forewarn.embedded.logs import cut_log
from forewarn.embedded.store_process import StoreProcess


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES_KEPT", 1000)


def test_a_log_past_its_bound_is_put_aside_once(tmp_path: Path) -> None:
    """The older half is replaced at the next time: two bounds is the most that a log takes."""
    log, aside = tmp_path / "a.log", tmp_path / "a.log.1"
    cut_log(log)
    assert list(tmp_path.iterdir()) == [], "one that is not there is no error"
    for text in ("x" * 1000, "y" * 1001, "z" * 1002):
        log.write_text(text)
        cut_log(log)
    assert (log.read_text(), aside.read_text()) == ("", "z" * 1002)
    log.write_text("short")
    cut_log(log)
    assert log.read_text() == "short"


def test_who_writes_goes_on_in_the_emptied_log(tmp_path: Path) -> None:
    """A process has the file open for appending: nothing of what it says later is lost."""
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 2000)
        cut_log(log)
        writer.write(b"later")
        assert log.read_bytes() == b"later"


def test_the_brokers_and_the_stores_logs_are_bounded_at_a_start_and_while_they_run(tmp_path: Path) -> None:
    """They lie in the data directory beside each other."""
    broker, store = TansuBroker(tmp_path), StoreProcess(tmp_path / "store")
    written = {tmp_path / "broker.log": "b" * 2000, tmp_path / "store.log": "s" * 2000}
    for log, text in written.items():
        log.write_text(text)
    broker.start()
    store.start()
    try:
        for log, text in written.items():
            assert log.with_name(f"{log.name}.1").read_text() == text
            log.write_text(text.upper())
        broker.care()
        store.care()
        for log, text in written.items():
            assert log.with_name(f"{log.name}.1").read_text() == text.upper()
            assert log.stat().st_size < 1000
    finally:
        broker.stop()
        store.stop()
