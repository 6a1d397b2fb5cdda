"""What a person would look at when a probe fails: its URL without secrets, its address, its machine."""

from producers.masking import mask_url
from producers.settings import HostOptions, HttpOptions, Probe


def watched(probe: Probe) -> str:
    """Return what a probe looks at, on one line: `https://shop.example/pay?card=***`, `shop.example:443`."""
    options = probe.options
    if isinstance(options, HttpOptions):
        url = mask_url(options.url)
        return url if options.method == "GET" else f"{options.method} {url}"
    if isinstance(options, HostOptions):
        return f"the machine of {' and '.join(probe.locations)} ({', '.join(options.mounts)})"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{host}:{options.port}"
