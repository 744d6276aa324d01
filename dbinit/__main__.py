"""`python -m dbinit`."""

import gc
import sys
from typing import NoReturn

__all__ = ["run"]


def run() -> NoReturn:
    """Run the command line as a process, and end that."""
    # What is imported never becomes garbage. To look for some in it, meanwhile and at the end, takes a sixth of the
    # time of a start with nothing to do.
    gc.disable()
    from .cli import main  # noqa: PLC0415 - as said

    gc.freeze()
    gc.enable()
    code = main()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
