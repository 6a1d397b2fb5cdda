"""The demo's config: intervals and warm-up are shortened, the detector's thresholds are the defaults."""

from pathlib import Path
from typing import Final

LOCATIONS: Final = ("ams", "fra")
SHOP: Final = "demo/shop"
CONTROL: Final = "demo/control"
TARGETS: Final = (SHOP, CONTROL)
FRONT: Final = "front"
"""The probe of the targets' latency."""

WARM_UP_CHECKS: Final = 20

_TEXT: Final = """\
# Written by `forewarn demo`. Intervals and warm-up are shortened so that the demo takes two minutes;
# the detector's thresholds are the defaults.
version: 1
locations:
  - name: ams
  - name: fra
detection:
  warm_up_checks: {warm_up}
  slot: 1s
report:
  time_zone: UTC
targets:
  - name: shop
    customer: demo
    interval: 1s
    timeout: 900ms
    probes:
      - http: {{url: "http://127.0.0.1:{http}/"}}
        name: front
      - tls: {{host: localhost, port: {tls}, ca_file: {ca}}}
        name: certificate
        interval: 5s
        timeout: 4s
  - name: control
    customer: demo
    interval: 1s
    timeout: 900ms
    probes:
      - http: {{url: "http://127.0.0.1:{http}/control"}}
        name: front
"""


def write_config(path: Path, *, http_port: int, tls_port: int, ca_file: Path) -> None:
    """Write the demo's config for a shop that listens on these ports."""
    path.write_text(_TEXT.format(warm_up=WARM_UP_CHECKS, http=http_port, tls=tls_port, ca=ca_file))
