"""`python -m dbinit`."""

import gc
import sys
from typing import NoReturn

from .cli import main

__all__ = ["run"]


def run() -> NoReturn:
    """Run the command line as a process, and end that."""
    code = main()
    # At its end the interpreter would look for garbage in all of this, more than once.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
