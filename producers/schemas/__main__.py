"""Write the schemas and examples anew from the contract: `python -m producers.schemas`."""

from producers.schemas.files import write_files
from producers.schemas.generate import DIRECTORY, files

if __name__ == "__main__":
    for name in write_files(DIRECTORY, files()):
        print(name)  # noqa: T201 - what a command line prints
