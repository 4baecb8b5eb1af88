"""The progress bar of a study."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tbft.study.running.executors import Outcome


class ProgressBar:
    """A bar with the time left; it is drawn only when a cell ends, because drawing costs energy that is measured.

    Args:
        total: Number of cells of the study.
        todo: Number of cells to run now.
    """

    def __init__(self, total: int, todo: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        # A copy of standard error, because cells that run in this process redirect the stream itself to their logs.
        self.console = Console(file=os.fdopen(os.dup(2), "w"), stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self.bar = Progress(
            *columns, console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self.task = self.bar.add_task("cells", total=total, completed=total - todo, left="")
        self.started, self.todo, self.count = time.monotonic(), todo, 0

    def ended(self, outcome: Outcome) -> None:
        """Count a cell that ended, and print its name and reason if it failed."""
        self.count += 1
        if outcome.code:
            self.console.print(f"failed: {outcome.job.cell.key}: {outcome.reason}", markup=False, highlight=False)
        seconds = (time.monotonic() - self.started) / self.count * (self.todo - self.count)
        left = f"about {seconds // 60:.0f} min {seconds % 60:.0f} s left" if seconds else ""
        self.bar.update(self.task, advance=1, left=left)
        self.bar.refresh()


@contextmanager
def progress_bar(total: int, todo: int) -> Iterator[ProgressBar]:
    """Show a bar during a `with` block.

    Args:
        total: Number of cells of the study.
        todo: Number of cells to run now.
    """
    shown = ProgressBar(total, todo)
    try:
        with shown.bar:
            yield shown
    finally:
        shown.console.file.close()
