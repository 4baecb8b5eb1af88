"""Parse a command's configuration: its sections, presets, and the hash of the options that decide the outcome."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.optim import Optimizer

from tbft.adaptation.adaptation import choose_device
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.ladder import Ladder
from tbft.adaptation.optimization import without_compiler
from tbft.callbacks import BlockFreezeCallback, EnergyCallback
from tbft.command_line.preset_option import PresetConfig
from tbft.data import CIFAR10, CIFAR10C, Breeds, Digits, DomainData, Folder  # noqa: F401 - found by bare name
from tbft.energy.run_meter import BUDGETS
from tbft.errors import BadInput
from tbft.models.number_format import resolve_format
from tbft.module import ImageClassifier
from tbft.runs.settings import RunSettings
from tbft.training.checks import check_followers
from tbft.training.quiet import quiet_lightning
from tbft.training.steps import DEFAULTS

_NOT_HASHED = ("run", "energy", "config", "ckpt_path", "weights_only")


class ConfiguredCLI(LightningCLI):
    """A command line with the sections model, data, freeze, head, cache, ladder, energy, run and trainer.

    Args:
        args: the command and its arguments; without the command if ``run`` is false.
        run: whether to run the command, or only to make its objects.
    """

    model: ImageClassifier
    datamodule: DomainData

    def __init__(self, args: list[str], run: bool = True) -> None:
        self._command = args[0] if run else None
        quiet_lightning()
        with ExitStack() as self._held:  # holds the lock on the run's folder until the run is over
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

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the given command only, since each parser takes a tenth of a CPU-second to build."""
        return {name: skipped for name, skipped in super().subcommands().items() if name == self._command}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that finds presets, takes no abbreviations and raises errors instead of exiting."""
        kwargs.update(exit_on_error=False, allow_abbrev=False)
        parser = LightningArgumentParser(**kwargs)
        parser.add_instantiator(lambda kind, *args, **given: without_compiler(kind)(*args, **given), Optimizer)
        parser.add_argument(
            "-c", "--config", action=PresetConfig, help="A YAML file, or a preset by name; later ones win."
        )
        return parser

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Make the parser of one command, with ``--images`` for ``predict``."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument("--images", type=str | None, default=None, help="Folder of new, unlabelled pictures.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the sections besides model, data and trainer, and link options of the data to their sources."""
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
        """Refuse options of the data that would be overridden by the model's."""
        check_followers(self._get(self.config, "data"))

    def _set_seed(self) -> None:
        """Seed everything.

        Raises:
            BadInput: if numpy does not accept the seed.
        """
        seed = int(self._get(self.config, "seed_everything"))
        if not 0 <= seed < 2**32:
            raise BadInput(f"seed_everything is {seed}: give a number from 0 to {2**32 - 1}")
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """Do nothing: a checkpoint's hyper-parameters must not override the user's options."""

    @property
    def _arguments(self) -> Any:
        return self.config_init[self.subcommand]

    def config_hash(self) -> str:
        """Hash all options that the outcome depends on; those of recording and metering, except budgets, are left out.

        Returns:
            The first 12 hexadecimal digits of a SHA-256 sum.
        """
        config = self._options
        decisive = {k: v for k, v in config.items() if k not in _NOT_HASHED}
        decisive |= {name: config["energy"][name] for name in BUDGETS}
        text = json.dumps(decisive, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def _options(self) -> dict[str, Any]:
        """The options of this command as plain values, with ``cheapest`` resolved to this machine's number format."""
        # The values were checked when they were parsed; checking again takes longer than writing and reading them.
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_validation=True))
        config = config.get(self.subcommand, config)
        device = choose_device(self._get(self.config, "trainer").get("accelerator"))
        how, network = config["model"]["number_format"], self.model.model if hasattr(self, "model") else None
        config["model"]["number_format"] = resolve_format(how, device, network).name
        return config


class ArgumentsOnly(ConfiguredCLI):
    """A command line that is parsed only: no objects are made, and nothing runs."""

    def instantiate_classes(self) -> None:
        """Do nothing: no objects are needed."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Do nothing: the command is not to run."""
