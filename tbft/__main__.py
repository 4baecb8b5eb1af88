"""``python -m tbft``."""

import sys

from tbft.interrupts import end_at_once_while_loading


def main() -> None:
    """Run the command line and end with its exit code."""
    end_at_once_while_loading()
    from tbft.cli import main as run

    code = run()
    end_at_once_while_loading()  # what is left is to unload
    sys.exit(code)


if __name__ == "__main__":
    main()
