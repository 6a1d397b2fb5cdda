"""What commands say beside their output."""

import sys


def say(text: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"forewarn: {text}\n")
    sys.stderr.flush()
