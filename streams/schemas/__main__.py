"""Write the schemas and examples anew from the contract: `python -m streams.schemas`."""

from streams.schemas.generate import write_files

if __name__ == "__main__":
    for name in write_files():
        print(name)  # noqa: T201 - what a command line prints
