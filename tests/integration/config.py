"""The config that every installation under test runs: one target a test, so that tests do not meet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

LOCATIONS: Final = ("ams", "fra")
TARGETS: Final = ("flow", "detect", "store", "broker")
"""Each is a path of the local site; a test breaks and mends its own."""

INTERVAL_US: Final = 1_000_000
PARTITIONS: Final = 12
SITE_SECRET: Final = "s1te-s3cret"
HOOK_SECRET: Final = "h00k-s3cret"

_TEXT: Final = """\
version: 1
locations: [{locations}]
detection:
  warm_up_checks: 10000 # latency on a busy machine is not what these tests are about: only failures speak
  slot: 1s
alerts:
  channels:
    - name: hook
      webhook: http://127.0.0.1:{hook}/{hook_secret}
defaults: {{interval: 1s, timeout: 900ms}}
targets:
"""

_TARGET: Final = """\
  - name: {name}
    locations: [{locations}]
    probes:
      - http: {{url: "http://127.0.0.1:{site}/{name}?key={secret}"}}
        name: front
"""

_LOG: Final = """\
log:
  bootstrap: ["{bootstrap}"]
"""

_SECURE: Final = """\
  security: sasl_ssl
  sasl_mechanism: PLAIN
  username: ${{KAFKA_USER}}
  password: ${{KAFKA_PASSWORD}}
  ca_file: {ca_file}
"""

_STORE: Final = """\
store:
  url: {url}
  token: ${{STORE_TOKEN}}
"""


def config_text(*, site: int, hook: int, targets: tuple[str, ...] = TARGETS, at: tuple[str, ...] = LOCATIONS) -> str:
    """Return a config of the one-machine mode.

    Args:
        site: Port of the local site.
        hook: Port of the webhook.
        targets: Their names.
        at: The locations.
    """
    locations = ", ".join(at)
    text = _TEXT.format(locations=", ".join(f"{{name: {name}}}" for name in at), hook=hook, hook_secret=HOOK_SECRET)
    return text + "".join(
        _TARGET.format(name=name, locations=locations, site=site, secret=SITE_SECRET) for name in targets
    )


def log_section(bootstrap: str, *, ca_file: Path | None = None) -> str:
    """Return the config's section for a Kafka; with a CA file one that is reached by SASL_SSL."""
    return _LOG.format(bootstrap=bootstrap) + ("" if ca_file is None else _SECURE.format(ca_file=ca_file))


def store_section(url: str) -> str:
    """Return the config's section for a store."""
    return _STORE.format(url=url)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What an installation under test watches.

    Attributes:
        text: The config without the sections of log and store.
        locations: Its locations.
    """

    text: str
    locations: tuple[str, ...]

    @classmethod
    def of(cls, *, site: int, hook: int) -> Self:
        """Return what the integration tests watch; see `config_text`."""
        return cls(text=config_text(site=site, hook=hook), locations=LOCATIONS)
