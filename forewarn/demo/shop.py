"""A small shop on loopback: a real HTTP server, and a real TLS server whose certificate expires in 9 days.

A process of its own: `python -m forewarn.demo.shop --directory DIR`. It prints one JSON line with its ports when it
listens, then obeys lines on its standard input: `healthy`, `slow`, `fail`, `recover`.
"""

import argparse
import asyncio
import datetime as dt
import json
import random
import ssl
import sys
import time
from pathlib import Path
from typing import Final

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HEALTHY_S: Final = 0.040
"""How long the shop thinks about a page when it is well; each page differs a little."""

JITTER: Final = 0.15
"""Standard deviation of the logarithm of that time: what a real server on a quiet machine shows."""

DOUBLING_S: Final = 9.0
"""While it slows down, its answer takes twice as long after each of these."""

SLOWEST_S: Final = 0.7
CERTIFICATE_DAYS: Final = 9


class Shop:
    """What the shop does now."""

    def __init__(self) -> None:
        self._random = random.Random(20261122)  # noqa: S311 - jitter of a demo
        self._state = "healthy"
        self._slow_since_s = 0.0

    def obey(self, word: str) -> None:
        """Change the state; an unknown word is an error of the demo's own."""
        if word not in ("healthy", "slow", "fail", "recover"):
            raise ValueError(f"the shop does not know {word!r}")
        self._state = word
        if word == "slow":
            self._slow_since_s = time.monotonic()

    async def page(self, _request: web.Request) -> web.Response:
        """Answer for the shop."""
        if self._state == "fail":
            return web.Response(status=502, text="Bad Gateway\n")
        think_s = HEALTHY_S * self._random.lognormvariate(0.0, JITTER)
        if self._state == "slow":
            think_s *= 2.0 ** ((time.monotonic() - self._slow_since_s) / DOUBLING_S)
        await asyncio.sleep(min(think_s, SLOWEST_S))
        return web.Response(text="<h1>Shop</h1><p>Tea, coffee, cups.</p>\n", content_type="text/html")

    async def control_page(self, _request: web.Request) -> web.Response:
        """Answer for the control target: always well."""
        await asyncio.sleep(HEALTHY_S * self._random.lognormvariate(0.0, JITTER))
        return web.Response(text="ok\n")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for localhost and its key.

    Returns:
        Paths of the certificate (its own CA) and of the key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=81))
        .not_valid_after(now + dt.timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = directory / "shop.pem", directory / "shop.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


async def serve(directory: Path) -> None:
    """Run the shop until its standard input ends."""
    shop = Shop()
    app = web.Application()
    app.router.add_get("/", shop.page)
    app.router.add_get("/control", shop.control_page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    certificate_file, key_file = make_certificate(directory)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate_file, key_file)
    for context in (None, tls):
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    http_port, tls_port = (int(address[1]) for address in runner.addresses)
    print(json.dumps({"http": http_port, "tls": tls_port, "ca": str(certificate_file)}), flush=True)  # noqa: T201 - its protocol
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        shop.obey(line.decode().strip())
    await runner.cleanup()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--directory", type=Path, required=True)
    asyncio.run(serve(arguments.parse_args().directory))
