"""``python -m tbft``."""

import sys


def main() -> None:
    """Run the command line and end with its exit code."""
    from tbft.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
