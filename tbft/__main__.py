"""``python -m tbft``."""

import gc
import sys

from tbft.command_line.interrupts import end_at_once_while_loading


def main() -> None:
    """Run the command line and end with its exit code."""
    end_at_once_while_loading()
    from tbft.cli import main as run

    try:
        code = run()
    finally:
        end_at_once_while_loading()  # what is left is to unload
        # The interpreter's last collection walks through all of torch and lightning to free what the exit frees anyway:
        # 1.3 CPU-seconds, a fifth of a small run.
        gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
