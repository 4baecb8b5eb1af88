"""`python -m tbft.study.running.executors.cell_process RUNNER COMMAND...`: runs one cell, and ends if its study ends.

Standard input is a pipe that the study never writes to. If the study dies, even by `kill -9`, the pipe closes and the
cell ends too. So no cell goes on writing into a ledger that another study may use by then.
"""

import os
import sys
import threading

from tbft.schema import TERMINATED
from tbft.startup.garbage import collect_from_now_on, spared_collections
from tbft.study.running.executors.job import load_runner


def main() -> None:
    """Run the command line and exit with its code."""
    threading.Thread(target=_end_with_study, daemon=True).start()
    runner, *arguments = sys.argv[1:]
    with spared_collections():
        run = load_runner(runner)
        if not runner.startswith("tbft."):  # tbft's own runners call this once they have loaded
            collect_from_now_on()
        code = run(arguments)
    sys.exit(code)


def _end_with_study() -> None:
    while os.read(0, 1):
        pass
    os._exit(TERMINATED)


if __name__ == "__main__":
    main()
