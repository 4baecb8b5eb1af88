"""An executor with a process for each cell: a crash ends one cell only, and a process's cost is that of one cell."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from tbft.schema import INTERRUPTED
from tbft.study.running.executors.job import STOPPED, Job, Outcome, ProcessUse, reason_in

GRACE_SECONDS = 30.0  # time for an interrupted run to write its record


class IsolatedExecutor:
    """Runs each cell in a process of its own.

    Args:
        runner: `module:function` that runs a command line.
        workers: Number of processes at a time; more than one share the machine.
    """

    def __init__(self, runner: str, workers: int = 1) -> None:
        self.runner = runner
        self.workers = workers
        self._living: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Start the jobs in order and yield them as they end.

        Raises:
            KeyboardInterrupt: When this process or a cell was interrupted; the other cells are then interrupted too.
        """
        pool = ThreadPoolExecutor(self.workers)
        try:
            for future in as_completed([pool.submit(self._run, job) for job in jobs]):
                outcome = future.result()
                if outcome.code in STOPPED:
                    raise KeyboardInterrupt(outcome.code)
                yield outcome
        finally:
            self._stop()
            pool.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> Outcome:
        command = [sys.executable, "-m", "tbft.study.running.executors.cell_process", self.runner, *job.arguments]
        with job.log.open("wb") as log:
            with self._lock:
                if self._stopped:
                    return Outcome(job, INTERRUPTED)
                began = time.monotonic()
                # In a session of its own, so that Ctrl-C reaches it only once, through this process.
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
                )
                self._living.add(process)
            try:
                code, use = _wait(process, began)
            finally:
                with self._lock:
                    self._living.discard(process)
                if process.stdin is not None:
                    process.stdin.close()
        return Outcome(job, code, reason_in(job.log.read_text(errors="replace"), code) if code else "", use)

    def _stop(self) -> None:
        """Terminate the processes that still run, and kill those that do not end within `GRACE_SECONDS`."""
        with self._lock:
            self._stopped = True
            living = list(self._living)
        for process in living:
            process.terminate()  # not SIGINT, which children of a background shell ignore
        for process in living:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], began: float) -> tuple[int, ProcessUse | None]:
    """Wait for a process to end; return its exit code, and what it used as the kernel counted it (None if unknown)."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:  # the thread that stops the study has waited for it already
        return process.wait(), None
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, ProcessUse(usage.ru_utime + usage.ru_stime, time.monotonic() - began)
