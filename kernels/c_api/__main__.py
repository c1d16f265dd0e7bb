"""`python -m fastlic.kernels.c_api`: build and install the C library, or list what it is made of."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fastlic.errors import EngineUnavailable
from fastlic.kernels.c_api import build


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m fastlic.kernels.c_api", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("build", help="compile the library into FOLDER/lib, its header into FOLDER/include")
    install.add_argument("folder", type=Path)
    commands.add_parser("sources", help="list the C++ sources and the folders they include from")
    arguments = parser.parse_args()
    if arguments.command == "sources":
        print(*build.sources(), *(f"-I{path}" for path in build.include_dirs()), sep="\n")
        return
    try:
        print(build.build(arguments.folder))
    except EngineUnavailable as error:
        sys.exit(f"fastlic: {error}")


if __name__ == "__main__":
    main()
