"""`forewarn healthcheck`: asks /healthz of a running process, for containers."""

import http.client
import json
import sys

from forewarn.errors import CommandError, ExitCode

_MOST_BYTES = 64 * 1024


def healthcheck(host: str, port: int, *, timeout_s: float) -> None:
    """Print what the process says of itself.

    Raises:
        CommandError: It is not well, or does not answer.
    """
    where = f"http://{host}:{port}/healthz"
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        said = response.read(_MOST_BYTES).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CommandError(f"{where} does not answer: {reason}", ExitCode.NEGATIVE) from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise CommandError(f"{where} says {response.status}: {_short(said)}", ExitCode.NEGATIVE)
    sys.stdout.write(f"{said}\n")


def _short(said: str) -> str:
    try:
        return json.dumps(json.loads(said))[:500]
    except ValueError:
        return said.splitlines()[0][:200] if said else "nothing"
