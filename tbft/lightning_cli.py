"""``fit``, ``validate``, ``test`` and ``predict``: one LightningCLI for every device."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only

from tbft.atomic import write_text
from tbft.callbacks import (
    AtomicCheckpointIO,
    BlockFreezeCallback,
    ClosedFormHeadCallback,
    DataOnDevice,
    EnergyCallback,
    EpochCheckpoint,
    FeatureCacheCallback,
    KeepBestCallback,
    RunRecordCallback,
    phase,
)
from tbft.callbacks.checkpoint import find_resumable
from tbft.callbacks.run_record import as_text
from tbft.checks import check_accelerator, check_classes, check_fit, check_trainer, checkpoint_file, make_trainer
from tbft.data import (  # noqa: F401 - so that data sets are found by bare name
    CIFAR10,
    CIFAR10C,
    Breeds,
    Digits,
    DomainData,
    Folder,
)
from tbft.errors import BadInput
from tbft.evaluation import evaluate, use_weights, write_predictions
from tbft.fingerprint import fingerprint
from tbft.models import save_weights
from tbft.module import ImageClassifier
from tbft.preset_option import BEGIN_OF_CONFIG, END_OF_CONFIG, PresetConfig
from tbft.run import RunSettings
from tbft.run_folder import CONFIG, MODEL, RunFolder, finish_commit, reason_of
from tbft.schema import RunRecord, Status
from tbft.summary import print_summary
from tbft.terminal import quiet_lightning
from tbft.trainer_options import check_trainer_options

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
                trainer_defaults={
                    "num_sanity_val_steps": 0,
                    "enable_model_summary": False,
                    "log_every_n_steps": 10,
                    # Training images are shared out by their own sampler; every process evaluates all images.
                    "use_distributed_sampler": False,
                },
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

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The sections beside model, data and trainer; the order is that in which the callbacks run."""
        parser.add_class_arguments(RunSettings, "run")
        parser.add_lightning_class_args(EnergyCallback, "energy")
        parser.add_lightning_class_args(BlockFreezeCallback, "freeze")
        parser.add_lightning_class_args(ClosedFormHeadCallback, "head")
        parser.add_lightning_class_args(FeatureCacheCallback, "cache")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        parser.link_arguments("model.image_size", "data.init_args.image_size", apply_on="instantiate")
        for name in ("mean", "std"):
            parser.link_arguments(f"model.{name}", f"data.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("model.classes", "data.init_args.base_classes", apply_on="instantiate")

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

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the run's folder, loggers, checkpoint and record wired to one another."""
        settings: RunSettings = self._get(self.config_init, "run")
        config = {**self._get(self.config_init, "trainer")}
        energy, freeze, head, cache = (
            self._get(self.config_init, key) for key in ("energy", "freeze", "head", "cache")
        )
        fitting = self.subcommand == "fit"
        check_accelerator(config.get("accelerator"))
        check_trainer(config)
        check_trainer_options(config, ends_early=_ending(head, energy) if fitting else None)
        settings.use_threads()
        if fitting:
            energy.check()
            check_fit(self.model, self.datamodule, freeze, config)
        self.settings = settings
        if fitting:
            self.run_folder = self._claim_folder(settings, freeze)
            self.folder = self.run_folder.path
            run_fingerprint = fingerprint(self._options(), self.model.base, self.datamodule)
            self._find_resumable(run_fingerprint)
        else:
            self.folder = self._fitted_folder() or Path(settings.root)
        keep = KeepBestCallback()
        self.run_record = RunRecordCallback(
            self.folder,
            self.config_hash(),
            freeze,
            energy,
            keep,
            int(self._get(self.config, "seed_everything")),
        )
        own: list[Any] = [energy, DataOnDevice(), keep, freeze, head, cache]
        if fitting:
            own += [self.run_record, EpochCheckpoint(self.folder, settings.checkpoint_every, run_fingerprint)]
        config["callbacks"] = [*own, *(config.get("callbacks") or [])]
        config["enable_checkpointing"] = fitting
        config["default_root_dir"] = str(self.folder)
        if config.get("logger") in (None, True):
            config["logger"] = self._loggers() if fitting else False
        config["plugins"] = [AtomicCheckpointIO(), *(config.get("plugins") or [])]
        return make_trainer(self.trainer_class, {**config, **kwargs})

    def default_name(self, freeze: BlockFreezeCallback) -> str:
        """``digits-gaussian_noise5-block-n200-s0``: data, drift, strategy, training size, seed."""
        data, drift = self.datamodule, self.datamodule.drift
        parts = [
            data.name,
            *([f"{drift.name}{drift.severity or ''}"] if data.domain == "target" else ["source"]),
        ]
        parts += [freeze.strategy_of(self.model.model, data)]
        parts += [f"n{data.train_size}"] if data.train_size else []
        return "-".join([*parts, f"s{data.seed}"]).replace(":", "")

    def config_hash(self) -> str:
        """Of everything that the outcome depends on; not of where it is recorded or how it is metered."""
        config = self._options()
        decisive = {k: v for k, v in config.items() if k not in _NOT_HASHED}
        decisive |= {name: config["energy"][name] for name in _BUDGETS}
        text = json.dumps(decisive, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _options(self) -> dict[str, Any]:
        """The resolved options of this command, as plain values."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        return config.get(self.subcommand, config)

    def _claim_folder(self, settings: RunSettings, freeze: BlockFreezeCallback) -> RunFolder:
        """This run's folder; of several processes the first one holds it."""
        name = self.default_name(freeze)
        if rank_zero_only.rank > 0:  # type: ignore[attr-defined]
            # Lightning starts further processes once the first has made the folder: they take that one.
            return RunFolder(settings.folder(name, resume=True))
        resume = self.config_init[self.subcommand].get("ckpt_path") is not None
        return settings.claim(name, self._held, resume=resume)

    def _find_resumable(self, run_fingerprint: dict[str, Any]) -> None:
        """Replace ``--ckpt_path`` by the file that the run goes on from, once it is known to be this run's."""
        given = self._checkpoint()
        epochs = self._get(self.config_init, "trainer").get("max_epochs")
        file = find_resumable(Path(given), run_fingerprint, epochs) if given else None
        self.config_init[self.subcommand]["ckpt_path"] = str(file) if file else None

    def fit(self, **kwargs: Any) -> None:
        """Personalize: fit, keep the better model, test it, and record the run whatever happens."""
        status: Status = "failed"
        reason: str | None = None
        record = RunRecord()
        trainer, module, data = self.trainer, self.model, self.datamodule
        if trainer.is_global_zero:
            self.run_folder.begin(resume=kwargs.get("ckpt_path") is not None)
            self._held.enter_context(self.run_folder.reserved())
        try:
            self._save_config()
            trainer.fit(**kwargs)
            with phase(trainer, "save"):
                if trainer.is_global_zero:
                    weights = self.run_folder.staging / MODEL
                    save_weights(module.model, weights, data.classes, mean=module.mean, std=module.std)
            if self.settings.test and data.test:  # an empty test set is skipped
                self._test()
            status = "completed"
        except (KeyboardInterrupt, SystemExit) as error:
            status, reason = "interrupted", reason_of(error.__context__ or error)
            raise
        except BaseException as error:
            reason = reason_of(error)
            raise
        finally:
            if trainer.is_global_zero:
                record = self.run_record.record(status, module, data, reason)
                file = self.run_folder.write_record(as_text(record), completed=status == "completed")
                picture = self.run_record.energy.draw(self.folder) if status == "completed" else None
                for logger in trainer.loggers:
                    if picture and hasattr(logger, "log_image"):
                        logger.log_image("power", [str(picture)])
                    if hasattr(logger, "finish"):
                        logger.finish(record)
                self.run_record.update_process_cost(record)
                with suppress(OSError):  # the record then stays as it was
                    write_text(file, as_text(record))
        if trainer.is_global_zero:
            print_summary(record, self.folder)

    def _test(self) -> None:
        trainer, module, data = self.trainer, self.model, self.datamodule
        assert data.test is not None
        keep, accuracy = self.run_record.keep, self.run_record.accuracy
        trainer.test(module, datamodule=data, verbose=False)
        accuracy["test"] = module.scores["test"].accuracy
        if module.base is None:
            return
        if keep.kept == "base":
            accuracy["base"] = accuracy["test"]
            return
        adapted = {key: value.clone() for key, value in module.model.state_dict().items()}
        with phase(trainer, "test"):
            module.to(trainer.strategy.root_device)  # which Lightning's tests leave
            module.model.load_state_dict(keep.base_weights)
            accuracy["base"] = evaluate(module, data.test).accuracy
            module.model.load_state_dict(adapted)

    def before_validate(self) -> None:
        """Use what ``fit`` left, unless a checkpoint is named."""
        self._load_personalized()

    before_test = before_predict = before_validate

    def _load_personalized(self) -> None:
        """``--ckpt_path``: a Lightning checkpoint, or weights; by default the weights beside the config.

        Raises:
            BadInput: if they cannot be used, or the data has other classes than they tell apart.
        """
        file = self._checkpoint()
        if file is None and self._fitted_folder():
            file = str(self.folder / MODEL)
        if file is not None:
            use_weights(self.model, self.datamodule, file)
        check_classes(self.model, self.datamodule)
        self.config_init[self.subcommand]["ckpt_path"] = None

    def _checkpoint(self) -> str | None:
        given = self.config_init[self.subcommand].get("ckpt_path")
        return checkpoint_file(given, self.folder, fitting=self.subcommand == "fit")

    def _fitted_folder(self) -> Path | None:
        """Folder of the run whose ``config.yaml`` was given, if that is what was given."""
        files = [Path(str(path)) for path in self.config_init[self.subcommand].get("config") or []]
        for path in files:
            finish_commit(path.parent)
        return next((path.parent for path in files if (path.parent / MODEL).is_file()), None)

    def predict(self, **kwargs: Any) -> None:
        """Predict the test images' classes, and write them as ``predictions.csv`` into the run's folder."""
        batches = self.trainer.predict(**{**kwargs, "return_predictions": True})
        assert self.datamodule.test is not None
        file = self.folder / "predictions.csv"
        write_predictions(file, torch.cat(batches), self.datamodule)  # type: ignore[arg-type]
        print(f"{len(self.datamodule.test)} predictions: {file}")

    def _loggers(self) -> list[Logger]:
        metrics = self.folder / "metrics.csv"
        if metrics.is_file():  # of the interrupted part of this run, which the logger would delete
            metrics.replace(self.folder / f"metrics.until-{time.strftime('%Y%m%d-%H%M%S')}.csv")
        loggers: list[Logger] = [CSVLogger(self.folder, name="", version="")]
        if self.settings.wandb != "off":
            from tbft.wandb_logger import RunLogger

            freeze, chain = self.run_record.freeze, self.model.model
            level = self.datamodule.drift.level or freeze.level
            tags = [
                level,
                self.datamodule.name,
                freeze.strategy_of(chain, self.datamodule),
                *(f"block:{name}" for name in freeze.target_of(chain, self.datamodule) if name in chain.blocks),
            ]
            logger = RunLogger(
                self.folder,
                self.folder.name,
                self.settings.project,
                self.settings.wandb_offline,
                self.settings.group,
                [*(tag for tag in tags if tag), *self.settings.tags],
            )
            loggers.append(logger)
        return loggers

    def _save_config(self) -> None:
        if self.trainer.is_global_zero:
            config = self.config[self.subcommand].clone()
            config["ckpt_path"] = None  # other commands take this file, and by it what the run has kept
            text = self._parser(self.subcommand).dump(config, skip_none=False)
            write_text(self.run_folder.staging / CONFIG, f"{BEGIN_OF_CONFIG}\n{text}{END_OF_CONFIG}\n")
            for logger in self.trainer.loggers:
                logger.log_hyperparams(yaml.safe_load(text))


def _ending(head: ClosedFormHeadCallback, energy: EnergyCallback) -> str | None:
    """The option that ends a run before its epochs do."""
    budgets = [name for name in _BUDGETS if getattr(energy, name) is not None]
    return "head.solve" if head.solve else f"energy.{budgets[0]}" if budgets else None


class ArgumentsOnly(PersonalizationCLI):
    """Parses a command line and stops there: nothing is made, nothing runs."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""
