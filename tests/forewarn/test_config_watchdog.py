"""The section `watchdog`: who needs it, what it comes to, and that its address is never shown."""

from pathlib import Path

import pytest

from analytics.settings import WatchdogSettings
from forewarn.config.config import Config, load_text
from forewarn.errors import ConfigError

SECRET = "https://hc.example.org/ping/8c7d-s3cret"
MINUTE_US = 60 * 10**6
TEXT = """
log: {{bootstrap: 'k:9092'}}
watchdog: {{{section}}}
locations: [{{name: ams}}, {{name: fra}}, {{name: idle}}]
targets:
  - {{url: 'http://a', interval: 1m, locations: [ams]}}
  - {{url: 'http://b', interval: 10m, locations: [ams, fra]}}
"""


def config_of(section: str, *, parts: tuple[str, ...] | None = None, **env: str) -> Config:
    """Return a config with this section."""
    text = TEXT.format(section=section).encode()
    return load_text(text, path=Path("f.yaml"), env=env, parts=parts)  # type: ignore[arg-type] # words of the test


def test_each_location_may_be_as_silent_as_two_intervals_of_its_most_frequent_probe() -> None:
    """And a minute for the way into the store; a location where nothing runs need not report."""
    settings = config_of("ping_url: '${PING}'", PING=SECRET).watchdog_settings()
    assert settings == WatchdogSettings(
        ping_url=SECRET, interval_us=MINUTE_US, locations={"ams": 3 * MINUTE_US, "fra": 21 * MINUTE_US}
    )


def test_without_the_section_there_is_no_ping() -> None:
    """Nothing is sent that nobody asked for."""
    plain = TEXT.replace("watchdog: {{{section}}}\n", "").format().encode()
    assert load_text(plain, path=Path("f.yaml"), env={}).watchdog_settings() is None


def test_only_the_sink_needs_the_address() -> None:
    """Others start without the variable, and asking them for it is a bug."""
    others = config_of("ping_url: '${PING}'", parts=("log", "store", "alerts"))
    with pytest.raises(AssertionError, match="without watchdog"):
        others.watchdog_settings()
    with pytest.raises(ConfigError, match="PING"):
        config_of("ping_url: '${PING}'", parts=("log", "store", "watchdog"))


def test_the_address_is_masked_wherever_the_config_is_shown() -> None:
    """What is stored of a config says where it points, and a file's or a variable's name."""
    config = config_of(f"ping_url: '{SECRET}', interval: 5m")
    masked = config.to_masked_text()
    assert "s3cret" not in masked + repr(config) + repr(config.watchdog_settings())
    assert "ping_url: https://hc.example.org/***" in masked
    assert "ping_url: ${PING}" in config_of("ping_url: '${PING}'", PING=SECRET).to_masked_text()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("interval: 1m", "f.yaml:3: watchdog: expected ping_url or ping_url_file"),
        (f"ping_url: '{SECRET}', ping_url_file: /dev/null", "f.yaml:3: watchdog"),
        ("ping_url: 'ftp://s3cret'", "f.yaml:3: watchdog.ping_url"),
        (f"ping_url: '{SECRET}', interval: 100ms", "f.yaml:3: watchdog.interval"),
    ],
)
def test_a_wrong_section_is_refused_without_showing_its_address(section: str, said: str) -> None:
    """With file, line and key."""
    with pytest.raises(ConfigError) as refused:
        config_of(section)
    assert said in str(refused.value)
    assert "8c7d-s3cret" not in str(refused.value)
