"""An executor that runs all cells in this process, one after the other, so that imports run once."""

from collections.abc import Iterator, Sequence

from tbft.study.running.executors.job import STOPPED, Job, Outcome, call, output_to, reason_in


class LocalExecutor:
    """Runs cells in this process.

    Args:
        runner: `module:function` that runs a command line.
    """

    def __init__(self, runner: str) -> None:
        self.runner = runner

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run the jobs in order.

        Raises:
            KeyboardInterrupt: When a cell was interrupted; its exit code is the argument.
        """
        for job in jobs:
            with output_to(job.log):
                code, reason = call(self.runner, job.arguments)
            if code in STOPPED:
                raise KeyboardInterrupt(code)
            yield Outcome(job, code, (reason or reason_in(job.log.read_text(errors="replace"), code)) if code else "")
