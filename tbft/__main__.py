"""Entry point of ``python -m tbft``."""

import sys

from tbft.command_line.interrupts import end_at_once_while_loading
from tbft.startup.garbage import spared_collections


def main() -> None:
    """Run the command line and end with its exit code."""
    end_at_once_while_loading()
    with spared_collections():
        from tbft.cli import main as run

        try:
            code = run()
        finally:
            end_at_once_while_loading()  # only unloading is left
    sys.exit(code)


if __name__ == "__main__":
    main()
