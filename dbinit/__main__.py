"""`python -m dbinit`."""

import gc
import sys
from signal import SIGINT
from typing import NoReturn

__all__ = ["run"]


def run() -> NoReturn:
    """Run the command line as a process, and end that."""
    # What is imported never becomes garbage. To look for some in it, meanwhile and at the end, takes a sixth of the
    # time of a start with nothing to do.
    gc.disable()
    try:
        from .cli import main  # noqa: PLC0415 - as said

        gc.freeze()
        gc.enable()
        code = main()
    except KeyboardInterrupt:  # where no loop takes the signals: at the beginning, or while a file is split
        code = 128 + SIGINT
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
