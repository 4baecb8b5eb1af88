"""``fit``, ``validate``, ``test`` and ``predict``: one LightningCLI for every device."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from tbft.adaptation.adaptation import Adaptation, choose_device
from tbft.adaptation.climb import Climb
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.ladder import Ladder
from tbft.adaptation.recorded import RecordedRun
from tbft.adaptation.score import Tally
from tbft.callbacks import BlockFreezeCallback, DataOnDevice, EnergyCallback, EpochCheckpoint
from tbft.callbacks.checkpoint import find_resumable
from tbft.command_line.evaluation import use_weights, write_predictions
from tbft.command_line.preset_option import BEGIN_OF_CONFIG, END_OF_CONFIG, PresetConfig
from tbft.command_line.summary import print_summary
from tbft.command_line.terminal import quiet_lightning
from tbft.data import CIFAR10, CIFAR10C, Breeds, Digits, DomainData, Folder  # noqa: F401 - found by bare name
from tbft.errors import BadInput
from tbft.models.number_format import resolve_format
from tbft.module import ImageClassifier
from tbft.personalized import Model
from tbft.runs.fingerprint import fingerprint
from tbft.runs.folder import MODEL, RunFolder, finish_commit
from tbft.runs.loggers import make_loggers
from tbft.runs.settings import RunSettings, default_name
from tbft.training.checks import (
    check_accelerator,
    check_classes,
    check_climb,
    check_fit,
    check_followers,
    check_trainer,
    checkpoint_file,
    make_trainer,
)
from tbft.training.climbing import train_step_by_step
from tbft.training.metrics import metrics_of
from tbft.training.steps import DEFAULTS, train_by_steps
from tbft.training.trainer_options import check_trainer_options

_NOT_HASHED = ("run", "energy", "config", "ckpt_path", "weights_only")
_BUDGETS = ("budget_joules", "budget_seconds")


class PersonalizationCLI(LightningCLI):
    """Sections ``model``, ``data``, ``freeze``, ``cache``, ``energy``, ``run`` and ``trainer``."""

    model: ImageClassifier
    datamodule: DomainData

    def __init__(self, args: list[str] | None, run: bool = True) -> None:
        quiet_lightning()
        with ExitStack() as self._held:  # the run's folder, until the run is over
            super().__init__(
                ImageClassifier,
                DomainData,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                trainer_defaults=DEFAULTS,
                parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
                args=args,
                run=run,
            )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that finds presets, takes no abbreviations and raises instead of exiting."""
        kwargs.update(exit_on_error=False, allow_abbrev=False)
        parser = LightningArgumentParser(**kwargs)
        parser.add_argument(
            "-c", "--config", action=PresetConfig, help="A YAML file, or a preset by name; later ones win."
        )
        return parser

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """The parser of one command; ``predict`` takes new pictures too."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument("--images", type=str | None, default=None, help="Folder of new, unlabelled pictures.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The sections beside model, data and trainer."""
        parser.add_class_arguments(RunSettings, "run")
        parser.add_lightning_class_args(EnergyCallback, "energy")
        parser.add_class_arguments(BlockFreezeCallback, "freeze", skip={"network", "images", "examples"})
        parser.add_class_arguments(ClosedFormHead, "head")
        parser.add_class_arguments(FeatureCache, "cache")
        parser.add_class_arguments(Ladder, "ladder")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        parser.link_arguments("model.image_size", "data.init_args.image_size", apply_on="instantiate")
        for name in ("mean", "std"):
            parser.link_arguments(f"model.{name}", f"data.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("model.classes", "data.init_args.base_classes", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Refuse what would be overridden."""
        check_followers(self._get(self.config, "data"))

    def _set_seed(self) -> None:
        """Seed everything, or say why not.

        Raises:
            BadInput: if numpy does not take that seed.
        """
        seed = int(self._get(self.config, "seed_everything"))
        if not 0 <= seed < 2**32:
            raise BadInput(f"seed_everything is {seed}: give a number from 0 to {2**32 - 1}")
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """A checkpoint's hyper-parameters never override what the user wrote."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Check what was asked for. ``fit`` makes its trainer itself, if something is to be trained by steps."""
        self.settings: RunSettings = self._get(self.config_init, "run")
        options = self._get(self.config_init, "trainer")
        check_accelerator(options.get("accelerator"))
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
        """Everything that can be refused is refused here, before anything is written; gives the run's folder."""
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

    def config_hash(self) -> str:
        """Hash everything that the outcome depends on; not where it is recorded or how it is metered."""
        config = self._options
        decisive = {k: v for k, v in config.items() if k not in _NOT_HASHED}
        decisive |= {name: config["energy"][name] for name in _BUDGETS}
        text = json.dumps(decisive, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def _options(self) -> dict[str, Any]:
        """The resolved options of this command, as plain values; ``cheapest`` is the format that it means here."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        config = config.get(self.subcommand, config)
        device = choose_device(self._get(self.config, "trainer").get("accelerator"))
        how, network = config["model"]["number_format"], self.model.model if hasattr(self, "model") else None
        config["model"]["number_format"] = resolve_format(how, device, network).name
        return config

    def _claim_folder(self) -> RunFolder:
        """This run's folder; of several processes the first one holds it."""
        name = default_name(self.adaptation)
        if rank_zero_only.rank > 0:  # type: ignore[attr-defined]
            # Lightning starts further processes once the first has made the folder: they take that one.
            return RunFolder(self.settings.folder(name, resume=True))
        resume = self.config_init[self.subcommand].get("ckpt_path") is not None
        return self.settings.claim(name, self._held, resume=resume)

    def _find_resumable(self) -> None:
        """Replace ``--ckpt_path`` by the file that the run goes on from, once it is known to be this run's."""
        given = checkpoint_file(self._arguments.get("ckpt_path"), self.run_folder.path, fitting=True)
        epochs = self._get(self.config_init, "trainer").get("max_epochs")
        file = find_resumable(Path(given), self.fingerprint, epochs) if given else None
        self._arguments["ckpt_path"] = str(file) if file else None

    @property
    def _arguments(self) -> Any:
        return self.config_init[self.subcommand]

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a command: ``fit`` here, which has no trainer yet, the others as Lightning does."""
        if subcommand == "fit":
            self.fit(self._arguments.get("ckpt_path"))
        else:
            super()._run_subcommand(subcommand)

    def fit(self, ckpt_path: str | None = None) -> None:
        """Personalize: adapt, keep the better model, test it, and record the run whatever happens."""
        adaptation, first = self.adaptation, rank_zero_only.rank == 0  # type: ignore[attr-defined]
        loggers = make_loggers(self.folder, self.settings, adaptation) if first else []
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
        """Use what ``fit`` left, unless a checkpoint is named."""
        self._load_personalized()

    before_test = before_predict = before_validate

    def _load_personalized(self) -> None:
        """``--ckpt_path``: a Lightning checkpoint, or weights; by default the weights beside the config.

        Raises:
            BadInput: if they cannot be used, or the data has other classes than they tell apart.
        """
        file = checkpoint_file(self._arguments.get("ckpt_path"), self.folder, fitting=False)
        if file is None and self._fitted_folder():
            file = str(self.folder / MODEL)
        if file is not None:
            use_weights(self.model, self.datamodule, file)
        if not self._arguments.get("images"):
            check_classes(self.model, self.datamodule)
        self._arguments["ckpt_path"] = None

    def _fitted_folder(self) -> Path | None:
        """Folder of the run whose ``config.yaml`` was given, if that is what was given."""
        files = [Path(str(path)) for path in self._arguments.get("config") or []]
        for path in files:
            finish_commit(path.parent)
        return next((path.parent for path in files if (path.parent / MODEL).is_file()), None)

    def predict(self, **kwargs: Any) -> None:
        """Predict the classes of the test images, or of the pictures in ``--images``, as ``predictions.csv``."""
        file = self.folder / "predictions.csv"
        if folder := self._arguments.get("images"):
            self.model.place(choose_device(self._get(self.config_init, "trainer").get("accelerator")))
            found = Model(self.model, self.model.model, self.model.classes).predict(folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            found.to_csv(file)
            for image, reason in found.broken.items():
                print(f"not read: {image} ({reason.removeprefix(image).strip()})")
            print(f"{len(found)} predictions: {file}")
            return
        batches = self.trainer.predict(**{**kwargs, "return_predictions": True})
        assert self.datamodule.test is not None
        write_predictions(file, torch.cat(batches), self.datamodule)  # type: ignore[arg-type]
        print(f"{len(self.datamodule.test)} predictions: {file}")

    def _config_text(self, loggers: list[Logger]) -> str:
        """The run's configuration as a file, which other commands take; loggers hear of it too."""
        # Commands that take the file use what the run has kept, not what it went on from.
        options = {**self._options, "ckpt_path": None}
        for logger in loggers:
            logger.log_hyperparams(options)
        text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
        return f"{BEGIN_OF_CONFIG}\n{text}{END_OF_CONFIG}\n"


def _ending(head: ClosedFormHead, energy: EnergyCallback) -> str | None:
    """The option that ends a run before its epochs do."""
    budgets = [name for name in _BUDGETS if getattr(energy, name) is not None]
    return "head.solve" if head.solve else f"energy.{budgets[0]}" if budgets else None


class ArgumentsOnly(PersonalizationCLI):
    """Parses a command line and stops there: nothing is made, nothing runs."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""
