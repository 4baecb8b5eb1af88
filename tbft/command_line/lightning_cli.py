"""The commands ``fit``, ``validate``, ``test`` and ``predict``, on top of LightningCLI."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from tbft.adaptation.adaptation import Adaptation, choose_device
from tbft.adaptation.climb import Climb
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.recorded import RecordedRun
from tbft.adaptation.score import Tally
from tbft.callbacks import DataOnDevice, EnergyCallback, EpochCheckpoint
from tbft.callbacks.checkpoint import find_resumable
from tbft.command_line.configured_cli import ConfiguredCLI
from tbft.command_line.evaluation import check_base, fitted_folder, use_weights, warn_of_trained_images
from tbft.command_line.preset_option import BEGIN_OF_CONFIG, END_OF_CONFIG
from tbft.command_line.scores import print_scores
from tbft.energy.run_meter import BUDGETS
from tbft.errors import BadInput
from tbft.paths import on_one_line
from tbft.personalized import Model
from tbft.predictions import Predictions
from tbft.runs.fingerprint import fingerprint
from tbft.runs.folder import MODEL, RunFolder
from tbft.runs.loggers import make_loggers
from tbft.runs.settings import RunSettings, default_name
from tbft.runs.summary import print_summary
from tbft.training.checks import (
    check_classes,
    check_climb,
    check_fit,
    check_trainer,
    checkpoint_file,
    make_trainer,
)
from tbft.training.climbing import train_step_by_step
from tbft.training.metrics import metrics_of
from tbft.training.steps import train_by_steps
from tbft.training.trainer_options import check_trainer_options


class PersonalizationCLI(ConfiguredCLI):
    """Command line of ``fit``, ``validate``, ``test`` and ``predict``."""

    _shows_scores = False  # of test and validate

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Check the options and make the trainer; ``fit`` gets none here and makes one later if it trains by steps."""
        self.settings: RunSettings = self._get(self.config_init, "run")
        options = self._get(self.config_init, "trainer")
        choose_device(options.get("accelerator"))  # raises if the accelerator is missing
        self.settings.use_threads()
        if self.subcommand == "fit":
            self.folder = self._prepare(options)
            return None
        check_trainer(options)
        check_trainer_options(options)
        self.folder = self._fitted_folder() or Path(self.settings.root)
        own = {"callbacks": [DataOnDevice(), *(options.get("callbacks") or [])], "enable_checkpointing": False}
        logger = False if options.get("logger") in (None, True) else options["logger"]
        return make_trainer(self.trainer_class, {**options, **own, "logger": logger, **kwargs})

    def _prepare(self, options: dict[str, Any]) -> Path:
        """Check everything about ``fit`` before anything is written, make its adaptation, and return its folder."""
        energy, freeze, head, cache = (
            self._get(self.config_init, key) for key in ("energy", "freeze", "head", "cache")
        )
        check_trainer(options)
        check_trainer_options(options, ends_early=_ending(head, energy))
        energy.check()
        ladder = self._get(self.config_init, "ladder")
        more: dict[str, Any] = {}
        if ladder.climb:
            optimizer = self._options["model"]["optimizer"]
            check_climb(self.model, self.datamodule, self._arguments.get("ckpt_path"), optimizer)
            if ladder.hindsight and not self.settings.test:
                raise BadInput("ladder.hindsight tests what was tried and run.test is off: leave one of them out")
            more = {"ladder": ladder, "train": partial(train_step_by_step, options=options)}
        else:
            check_fit(self.model, self.datamodule, freeze, options)
        seed = int(self._get(self.config, "seed_everything"))
        self.adaptation = (Climb if ladder.climb else Adaptation)(
            self.model,
            self.datamodule,
            freeze,
            head,
            cache,
            energy,
            seed,
            max_epochs=options.get("max_epochs"),
            accelerator=options.get("accelerator"),
            **more,
        )
        self.run_folder = self._claim_folder()
        self.fingerprint = fingerprint(self._options, self.model.base, self.datamodule)
        self._find_resumable()
        return self.run_folder.path

    def _claim_folder(self) -> RunFolder:
        """Return this run's folder; if there are several processes, the first one locks it."""
        name = default_name(self.datamodule, self.adaptation.strategy, self.adaptation.seed)
        if rank_zero_only.rank > 0:  # type: ignore[attr-defined]
            # Lightning starts further processes after the first has made the folder, and they use that one.
            return RunFolder(self.settings.folder(name, resume=True))
        resume = self.config_init[self.subcommand].get("ckpt_path") is not None
        return self.settings.claim(name, self._held, resume=resume)

    def _find_resumable(self) -> None:
        """Replace ``--ckpt_path`` by the checkpoint that the run resumes from, after checking that it is this run's."""
        given = checkpoint_file(self._arguments.get("ckpt_path"), self.run_folder.path, fitting=True)
        epochs = self._get(self.config_init, "trainer").get("max_epochs")
        file = find_resumable(Path(given), self.fingerprint, epochs) if given else None
        self._arguments["ckpt_path"] = str(file) if file else None

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a command: ``fit`` by this class's method, since it has no trainer yet, the others as Lightning does."""
        if subcommand == "fit":
            self.fit(self._arguments.get("ckpt_path"))
        else:
            super()._run_subcommand(subcommand)

    def fit(self, ckpt_path: str | None = None) -> None:
        """Adapt, keep the better model, test it, and record the run even if it fails or is interrupted.

        Args:
            ckpt_path: checkpoint to resume from.
        """
        adaptation, first = self.adaptation, rank_zero_only.rank == 0  # type: ignore[attr-defined]
        loggers = make_loggers(self.folder, self.settings, _tags_of(adaptation)) if first else []
        run = RecordedRun(
            adaptation,
            self.run_folder,
            config_hash=self.config_hash(),
            config=self._config_text(loggers),
            test=self.settings.test,
            loggers=loggers,
        )

        def adapt() -> None:
            if not adaptation.trains_by_steps:
                adaptation.run_without_steps()
                return
            every, resume = self.settings.checkpoint_every, Path(ckpt_path) if ckpt_path else None
            checkpoint = EpochCheckpoint(self.folder, every, self.fingerprint, adaptation.meter)
            options = self._get(self.config_init, "trainer")
            train_by_steps(
                adaptation, options, folder=self.folder, loggers=loggers, checkpoint=checkpoint, resume=resume
            )

        def log_test(tally: Tally) -> None:
            for logger in loggers:
                logger.log_metrics(metrics_of("test", tally, self.datamodule.classes), adaptation.progress.steps)
                logger.save()

        if not first:
            adapt()
            return
        try:
            run.run(adapt, resume=ckpt_path is not None, tested=log_test)
        finally:
            if run.record:
                print_summary(run.record, self.folder)

    def before_validate(self) -> None:
        """Load the weights that ``fit`` saved, or those of the given checkpoint."""
        self._load_personalized()
        if "verbose" in self._arguments:  # a table of ours takes the place of Lightning's
            self._shows_scores, self._arguments["verbose"] = self._arguments["verbose"], False

    before_test = before_predict = before_validate

    def after_validate(self) -> None:
        """Show the scores on the validation images."""
        self._show_scores("val")

    def after_test(self) -> None:
        """Show the scores on the test images."""
        self._show_scores("test")

    def _show_scores(self, part: str) -> None:
        if self._shows_scores and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            print_scores(part, self.model.tally, self.datamodule.classes)

    def _load_personalized(self) -> None:
        """Load the weights of ``--ckpt_path``, a Lightning checkpoint or a weights file, or those beside the config.

        Raises:
            BadInput: if they cannot be used, or the data has another number of classes.
        """
        file = checkpoint_file(self._arguments.get("ckpt_path"), self.folder, fitting=False)
        if file is None and self._fitted_folder():
            check_base(self.folder, self._options)
            file = str(self.folder / MODEL)
        if file is not None:
            use_weights(self.model, self.datamodule, file)
        if self._arguments.get("images") is None:
            check_classes(self.model, self.datamodule)
            part = "validation" if self.subcommand == "validate" else "test"
            if file is not None:
                warn_of_trained_images(Path(file), self._options, self.datamodule, part)
        self._arguments["ckpt_path"] = None

    def _fitted_folder(self) -> Path | None:
        """Return the folder of the run whose ``config.yaml`` was given, if it has weights; ``None`` otherwise."""
        return fitted_folder(Path(str(path)) for path in self._arguments.get("config") or [])

    def predict(self, **kwargs: Any) -> None:
        """Predict the classes of the test images, or of the pictures in ``--images``, and write ``predictions.csv``."""
        file = self.folder / "predictions.csv"
        if (folder := self._arguments.get("images")) is not None:
            self.model.place(choose_device(self._get(self.config_init, "trainer").get("accelerator")))
            found = Model(self.model, self.model.model, self.model.classes).predict(folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            found.to_csv(file)
            for image, reason in found.broken.items():
                print(f"not read: {on_one_line(image)} ({reason.removeprefix(on_one_line(image)).strip()})")
            print(f"{len(found)} predictions: {file}")
            return
        batches = self.trainer.predict(**{**kwargs, "return_predictions": True})
        data = self.datamodule
        assert data.test is not None
        probabilities = torch.cat(batches).float().cpu().numpy()  # type: ignore[arg-type]
        file.parent.mkdir(parents=True, exist_ok=True)
        found = Predictions.of(probabilities, data.classes, data.test_names)
        found.to_csv(file, truth=[data.classes[label] for label in data.test.y.tolist()])
        print(f"{len(found)} predictions: {file}")

    def _config_text(self, loggers: list[Logger]) -> str:
        """Return the text of the run's ``config.yaml``, which other commands take, and log its options."""
        # Commands that take the file use the weights that the run kept, not the checkpoint that it resumed from.
        options = {**self._options, "ckpt_path": None}
        for logger in loggers:
            logger.log_hyperparams(options)
        text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
        return f"{BEGIN_OF_CONFIG}\n{text}{END_OF_CONFIG}\n"


def _ending(head: ClosedFormHead, energy: EnergyCallback) -> str | None:
    """Return the option that can end a run before its last epoch; ``None`` if none can."""
    budgets = [name for name in BUDGETS if getattr(energy, name) is not None]
    return "head.solve" if head.solve else f"energy.{budgets[0]}" if budgets else None


def _tags_of(adaptation: Adaptation) -> list[str]:
    """Return the tags of a run in Weights & Biases: drift level, data set, strategy and the blocks that train."""
    level = adaptation.data.drift.level or adaptation.freeze.level
    blocks = [f"block:{name}" for name in adaptation.blocks]
    return [*([level] if level else []), adaptation.data.name, adaptation.strategy, *blocks]
