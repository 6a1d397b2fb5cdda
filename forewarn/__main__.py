"""`python -m forewarn`, and the `forewarn` command. Old Pythons must be able to parse this file, to be refused."""

import sys


def main():  # type: ignore[no-untyped-def] # noqa: ANN201, D103 - parsed by any Python 3
    version = sys.version_info[:2]
    if not (3, 11) <= version <= (3, 13):
        sys.stderr.write("forewarn: needs Python 3.11, 3.12 or 3.13; this is %d.%d\n" % version)  # noqa: UP031
        return 2
    try:
        from forewarn.cli import run  # noqa: PLC0415 - after the check: newer syntax lies behind this import

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported
        return 130


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[no-untyped-call]
