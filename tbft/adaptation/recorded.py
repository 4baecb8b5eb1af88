"""An adaptation with a run folder, which gets weights, configuration and record; a failed run is recorded too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.record import as_text, make_record
from tbft.adaptation.score import Tally
from tbft.atomic import write_text
from tbft.models import save_weights
from tbft.runs.folder import CONFIG, LADDER, MODEL, PICTURES, RunFolder, reason_of
from tbft.runs.ladder_plot import plot_ladder
from tbft.schema import RunRecord, Status


class RecordedRun:
    """Runs an adaptation and writes its files into a folder.

    Args:
        adaptation: the adaptation.
        folder: folder of the run, locked.
        config_hash: hash of the resolved options.
        config: text of ``config.yaml``; ``None`` writes no such file.
        test: whether to measure accuracy on the test images, if there are any.
        loggers: loggers of the run; each may have ``log_image`` and ``finish``.

    Attributes:
        record: record of the run; empty until the run has ended.
    """

    def __init__(
        self,
        adaptation: Adaptation,
        folder: RunFolder,
        *,
        config_hash: str,
        config: str | None = None,
        test: bool = True,
        loggers: Sequence[Any] = (),
    ) -> None:
        self.adaptation, self.folder, self.config_hash = adaptation, folder, config_hash
        self.config, self.test, self.loggers = config, test, loggers
        self.record: RunRecord = RunRecord()

    def run(
        self,
        adapt: Callable[[], object],
        *,
        resume: bool = False,
        tested: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        """Adapt, save and test; write the record even if the run fails or is interrupted.

        Args:
            adapt: function that adapts; the network must have the kept weights when it returns.
            resume: whether to continue the interrupted run in the folder.
            tested: function that is called with the kept model's losses and predictions on the test images.
        """
        adaptation = self.adaptation
        status: Status = "failed"
        reason: str | None = None
        self.folder.begin(resume=resume)
        with self.folder.reserved():
            try:
                if self.config is not None:
                    write_text(self.folder.staging / CONFIG, self.config)
                adapt()
                with adaptation.meter.phase("save"):
                    self._save()
                if self.test and adaptation.data.test:  # skip an empty test set
                    tested(adaptation.test())
                status = "completed"
            except (KeyboardInterrupt, SystemExit) as error:
                status, reason = "interrupted", reason_of(error.__context__ or error)
                raise
            except BaseException as error:
                reason = reason_of(error)
                raise
            finally:
                self._write_record(status, reason)

    def _save(self) -> None:
        classifier, data = self.adaptation.classifier, self.adaptation.data
        file = self.folder.staging / MODEL
        card = self.adaptation.source_card()
        save_weights(classifier.model, file, data.classes, mean=classifier.mean, std=classifier.std, card=card)

    def _write_record(self, status: Status, reason: str | None) -> None:
        meter, completed = self.adaptation.meter, status == "completed"
        name = self.folder.path.name
        self.record = make_record(self.adaptation, status, name=name, config_hash=self.config_hash, error=reason)
        file = self.folder.write_record(as_text(self.record), completed=completed)
        pictures = self._draw() if completed else []
        for logger in self.loggers:
            for picture in pictures:
                if hasattr(logger, "log_image"):
                    logger.log_image(picture.stem, [str(picture)])
            if hasattr(logger, "finish"):
                logger.finish(self.record)
        # The cost of the process includes drawing and finishing the loggers.
        self.record["process"] = meter.process_record(self.adaptation.data.reading_test)
        self.record["process_cpu_seconds"] = self.record["process"]["cpu_seconds"]
        with suppress(OSError):  # the record keeps its earlier process cost
            write_text(file, as_text(self.record))

    def _draw(self) -> list[Path]:
        """Draw the run's power and its climb, if plotting is on and there is something to draw; return the files."""
        meter, folder = self.adaptation.meter, self.folder.path
        for earlier in PICTURES:
            (folder / earlier).unlink(missing_ok=True)
        climbed = plot_ladder(self.record, folder / LADDER) if meter.plot else None
        return [picture for picture in (meter.draw(folder), climbed) if picture]
