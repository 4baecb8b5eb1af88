"""The commands ``diagnose`` and ``card``, which measure a model on data without adapting it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from tbft.adaptation.adaptation import choose_device
from tbft.adaptation.source_card import measure_source_card
from tbft.command_line.argument_order import split_options
from tbft.command_line.configured_cli import ConfiguredCLI
from tbft.command_line.evaluation import fitted_folder
from tbft.data.batches import Examples, joined
from tbft.data.copies import distinct_images
from tbft.diagnosing import diagnose_examples
from tbft.errors import BadInput
from tbft.given_images import load_for
from tbft.models import save_weights
from tbft.models.classifier import Classifier
from tbft.paths import on_one_line
from tbft.runs.folder import CONFIG, MODEL
from tbft.training.checks import check_classes


class MeasuringCLI(ConfiguredCLI):
    """A command line whose model and data are opened, and that runs nothing.

    Args:
        args: arguments without the command.
        opens_data: whether to open the data set's pictures; if not, they need not exist.
        must_split: whether to refuse pictures that are too few to train and validate.
    """

    def __init__(self, args: list[str], *, opens_data: bool = True, must_split: bool = True) -> None:
        given = [Path(value) for _, name, value in split_options(args) if name == "config" and value]
        if folder := fitted_folder(path for path in given if path.name == CONFIG):  # not any preset beside a model
            raise BadInput(
                f"{folder / CONFIG} is of a run, whose model and images are not known to be meant: give --model.base "
                f"{folder / MODEL} or the base model, and the data's preset"
            )
        super().__init__(args, run=False)
        self.datamodule.must_split = must_split
        if opens_data:
            self.datamodule.setup()
        self.model.place(choose_device(self._get(self.config_init, "trainer").get("accelerator")))

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Set the number of threads; no trainer is made."""
        self.settings = self._get(self.config_init, "run")
        self.settings.use_threads()


def main_card(args: list[str]) -> None:
    """Measure a base model's source card and write the model with it (command ``card``).

    Args:
        args: arguments without the command.

    Raises:
        BadInput: if ``--to`` or ``--model.base`` is missing, the card cannot be measured on the data, or the file
            cannot be written.
    """
    own, rest = _own_options(args, "card", to=None)
    if own.to is None:
        raise BadInput("card writes the base model with its card: say where, such as --to base.safetensors")
    file = Path(own.to).expanduser()
    if file.suffix != ".safetensors":
        raise BadInput(f"--to is {own.to}: a card lies in a safetensors file, give one that ends so")
    opened = MeasuringCLI(rest)
    model, data = opened.model, opened.datamodule
    if model.base is None:
        raise BadInput("there is no model to describe: give --model.base")
    card = measure_source_card(model, data)
    try:
        save_weights(model.model, file, model.classes or data.classes, mean=model.mean, std=model.std, card=card)
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}): give another --to") from None
    moments = "none: its first block is too wide" if card.moments is None else f"{len(card.moments.mean)} values"
    print(
        f"card      accuracy {100 * (card.accuracy or 0):.1f} % on {card.images} images, temperature "
        f"{card.temperature:.2g}, moments {moments}\nwritten   {file}"
    )


def _own_options(args: list[str], command: str, **defaults: Any) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command's own options and return them, and all other arguments.

    Args:
        args: arguments without the command.
        command: name of the command, for the message.
        defaults: default of each own option by name: ``None`` for one with a value, ``False`` for a flag.
    """
    parser = argparse.ArgumentParser(prog=f"tbft {command}", add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in defaults.items():
        if default is None:
            parser.add_argument(f"--{name}")
        else:
            parser.add_argument(f"--{name}", action="store_true")
    try:
        return parser.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise BadInput(f"{command}: {error}") from None


def main_diagnose(args: list[str]) -> None:
    """Print what drifted, as a table or as JSON, and draw it if ``--plot`` is given (command ``diagnose``).

    Args:
        args: arguments without the command.

    Raises:
        BadInput: if there is no base model, pictures cannot be read, or the figure cannot be written.
    """
    own, rest = _own_options(args, "diagnose", json=False, unlabelled=False, plot=None, images=None)
    if own.plot is not None:
        from tbft.diagnosis_figure import check_picture  # imports matplotlib, which is needed for a figure only

        check_picture(own.plot)
    opened = MeasuringCLI(rest, opens_data=own.images is None, must_split=False)
    model, data = opened.model, opened.datamodule
    if model.base is None:
        raise BadInput("there is no model to diagnose: give --model.base")
    labelled = data.labelled and not own.unlabelled and own.images is None
    if own.images is None:
        check_classes(model, data)
        assert data.train is not None and data.val is not None
        examples = joined(data.train, data.val)
    else:
        examples = _pictures_in(own.images, model)
    found = diagnose_examples(model, examples, labelled=labelled, seed=data.seed)
    if own.plot is not None:
        found.plot(own.plot)
    if own.json:
        print(json.dumps(found.as_dict()))
        return
    print(found.table())
    if model.base.card is None and labelled:  # without labels the advice already says so
        print("- the base model has no source card, so less can be told: python -m tbft card adds one")
    if own.plot is not None:
        print(f"\npicture   {own.plot}")


def _pictures_in(folder: str, classifier: Classifier) -> Examples:
    """Load new pictures without labels; those that cannot be read are left out and named on standard error."""
    loaded = load_for(classifier, folder, skip_broken=True)
    for picture, reason in loaded.broken.items():
        print(
            f"not read: {on_one_line(picture)} ({reason.removeprefix(on_one_line(picture)).strip()})", file=sys.stderr
        )
    x = loaded.x[distinct_images(loaded.x.numpy(), [None] * len(loaded.x))]
    unknown = torch.zeros(len(x), dtype=torch.int64)
    return Examples(x, unknown, mean=classifier.mean, std=classifier.std)
