"""A classifier that predicts (``Model``), and one that was adapted (``Personalized``) with its record."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from tbft.adaptation.evaluation import predict
from tbft.data.images import Images
from tbft.errors import BadInput
from tbft.given_images import load_for
from tbft.models import save_weights
from tbft.models.classifier import Classifier
from tbft.models.number_format import FORMATS
from tbft.own_state import own_modes, own_state
from tbft.predictions import Predictions
from tbft.runs.story import story_of, tuned_blocks
from tbft.runs.summary import short_figure
from tbft.schema import RunRecord


class Model:
    """A classifier with its class names and normalisation.

    Predictions are computed in fp32, whatever number format the adaptation used; so are those of a saved file.

    Attributes:
        model: network in inference mode, from normalised images ``(N, C, H, W)`` to logits ``(N, num_classes)``.
        classes: class names in the order of the outputs; empty if they are not known.
    """

    def __init__(self, classifier: Classifier, network: nn.Module, classes: tuple[str, ...]) -> None:
        classifier.compute_in(FORMATS["channels_last"])
        self._classifier, self.model, self.classes = classifier, network, classes
        self._card = classifier.base.card if classifier.base else None

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:3]) + (", ..." if len(self.classes) > 3 else "")
        named = f" ({names})" if names else ""
        side = self._classifier.image_size
        return f"{type(self).__name__}: images of {side} x {side} px to {self._classifier.num_classes} classes{named}"

    def predict(self, images: Images) -> Predictions:
        """Classify new pictures.

        Args:
            images: uint8 images ``(N, C, H, W)`` or, as an array, ``(N, H, W, C)``; floating-point images as the
                model takes them; a list of PIL pictures or paths; or a folder, whose pictures are found at any depth.

        Returns:
            Class index, name and confidence of each image; ``broken`` has the files that cannot be read.

        Raises:
            BadInput: if these are no images.
        """
        with own_modes():
            loaded = load_for(self._classifier, images, skip_broken=True)
            probabilities = predict(self._classifier, loaded.x)
        return Predictions.of(probabilities, self.classes, loaded.names, loaded.broken)

    def save(self, file: str | Path) -> None:
        """Write the weights as safetensors, with class names, normalisation and the cut of the network into blocks.

        Raises:
            BadInput: if the file's name does not end in ``.safetensors``.
            OSError: if the file cannot be written; an older file then stays as it was.
        """
        classifier = self._classifier
        if Path(file).suffix != ".safetensors":
            raise BadInput(f"{file} is to hold safetensors: give a name that ends in .safetensors")
        path, mean, std = Path(file).expanduser(), classifier.mean, classifier.std
        save_weights(classifier.model, path, self.classes, mean=mean, std=std, card=self._card)

    def copy_classifier(self) -> tuple[Classifier, nn.Module]:
        """Copy the classifier, for use as a base model.

        Returns:
            The classifier and the network of the caller's own kind that shares its weights; they share nothing with
            this model. A classifier with adapted weights has no source card.
        """
        twin = deepcopy(self)
        twin._classifier.classes = self.classes
        if self._card is None:
            twin._classifier.base = None
        return twin._classifier, twin.model

    def export(self, file: str | Path) -> Path:
        """Write one file that predicts and adapts on a device without torch (see ``tbft.device``).

        Args:
            file: file to write, whose name ends in ``.pyz``.

        Returns:
            The path of the file.

        Raises:
            BadInput: if the model cannot be exported, or a package that an export needs is not installed.
        """
        from tbft.export.command import check_installed

        check_installed()
        from tbft.export.bundle import export_bundle

        classifier, path = self._classifier, Path(file).expanduser()
        mean, std = classifier.mean or None, classifier.std or None
        with own_state():
            return export_bundle(classifier.model, path, classes=self.classes, mean=mean, std=std, card=self._card)


@dataclass(frozen=True)
class ByPhase:
    """One quantity of a run, such as joules, by phase; ``adaptation`` is the sum of all phases but ``test``."""

    prepare: float
    train: float
    validate: float
    save: float
    test: float
    adaptation: float


@dataclass(frozen=True)
class Record:
    """What an adaptation did and what it cost: the main fields of ``result.json``.

    Attributes:
        level: drift level; ``None`` if nobody named one.
        strategy: ``block`` for the level's own block, or ``full``, names of blocks joined by ``+``, ...
        blocks: names of the blocks that were tuned.
        statistics: policy of the BatchNorm statistics: ``source``, ``refresh`` or ``batch``.
        train_size: number of labelled images, those for validation included.
        base_accuracy: the base model's accuracy on the validation images, a fraction of 1; estimated if there are no
            labels.
        accuracy: the kept model's accuracy on the same images.
        kept: which model was kept, ``adapted`` or ``base``.
        kept_reason: why the base model was kept; ``None`` if it was not.
        joules: energy by phase.
        measured: whether all of the energy was measured; if not, it is modelled at least in part.
        cpu_seconds: processor time by phase.
        wall_seconds: wall time by phase.
        peak_rss_mib: peak resident memory in MiB.
        epochs: number of epochs trained by steps.
        steps: number of optimiser steps.
        as_dict: whole record, with the fields that are not listed here.
    """

    level: str | None
    strategy: str
    blocks: tuple[str, ...]
    statistics: str
    train_size: int
    base_accuracy: float
    accuracy: float
    kept: Literal["adapted", "base"]
    kept_reason: str | None
    joules: ByPhase
    measured: bool
    cpu_seconds: ByPhase
    wall_seconds: ByPhase
    peak_rss_mib: float
    epochs: int
    steps: int
    as_dict: RunRecord

    @classmethod
    def of(cls, record: RunRecord) -> Record:
        """Make a ``Record`` from the record of a completed run."""
        accuracy, told = record["accuracy"], record.get("diagnosis", {})
        estimates = [told.get(name) or {} for name in ("estimated_accuracy", "estimated_accuracy_after")]
        return cls(
            level=record["drift"]["level"],
            strategy=record["strategy"],
            blocks=tuple(record["blocks"]),
            statistics=record["statistics"],
            train_size=record["train_size"],
            base_accuracy=accuracy["base_validation"] or estimates[0].get("value", 0.0),
            accuracy=accuracy["validation"] or estimates[1].get("value", 0.0),
            kept="base" if record["kept"] == "base" else "adapted",
            kept_reason=record["kept_reason"],
            joules=ByPhase(**record["joules"]),
            measured=bool(record["energy_source"].get("measured")),
            cpu_seconds=ByPhase(**record["cpu_seconds"]),
            wall_seconds=ByPhase(**record["wall_seconds"]),
            peak_rss_mib=record["peak_rss_mib"] or 0.0,
            epochs=record["epochs"],
            steps=record["steps"],
            as_dict=record,
        )


class Personalized(Model):
    """A classifier that was adapted, or the base model if that was kept, with the record of the adaptation.

    Attributes:
        model: network with the kept weights, in inference mode.
        classes: class names in the order of the outputs.
        record: what the adaptation did and what it cost.
    """

    def __init__(
        self, classifier: Classifier, network: nn.Module, classes: tuple[str, ...], record: Record, validated: int
    ) -> None:
        super().__init__(classifier, network, classes)
        self.record, self._validated = record, validated
        if record.kept == "adapted":
            self._card = None  # the source card describes the base model's weights, not these

    @property
    def accuracy_before(self) -> float:
        """Accuracy of the base model on the validation images, a fraction of 1; estimated without labels."""
        return self.record.base_accuracy

    @property
    def accuracy(self) -> float:
        """Accuracy of the kept model on the same images, a fraction of 1."""
        return self.record.accuracy

    @property
    def kept(self) -> Literal["adapted", "base"]:
        """Which weights were kept, ``adapted`` or ``base``."""
        return self.record.kept

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks that were tuned."""
        return self.record.blocks

    @property
    def joules(self) -> float:
        """Energy of the whole adaptation, in joules."""
        return self.record.joules.adaptation

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the whole adaptation, in seconds."""
        return self.record.cpu_seconds.adaptation

    def __repr__(self) -> str:
        record = self.record
        parameters = record.as_dict["parameters"]
        tuned = f"{tuned_blocks(record.as_dict)}: {parameters['trained']:,} of {parameters['total']:,} parameters"
        source = "measured" if record.measured else "modelled, not measured"
        kept = f"the base model: {record.kept_reason}" if record.kept == "base" else "the adapted weights"
        cost = (
            f"{short_figure(self.joules)} J ({source}), {short_figure(self.cpu_seconds)} CPU-s, "
            f"{short_figure(record.wall_seconds.adaptation)} s"
        )
        story = story_of(record.as_dict)
        lines = {
            **(story or {"drift": f"{record.level or 'unknown'} level"}),
            "accuracy": f"{self.accuracy_before:.1%} -> {self.accuracy:.1%} {self._judged()}",
            "tuned": tuned,
            "kept": kept,
            "cost": cost,
        }
        return "\n".join(f"{name:<9} {text}" for name, text in lines.items())

    def _judged(self) -> str:
        """Say on which images the accuracies were measured or estimated."""
        told = self.record.as_dict.get("diagnosis")
        if told and not told["labelled"]:
            return f"estimated on {told['images']} images without labels"
        if told and told["images"] == self._validated:
            return f"of {self._validated} images, each judged without its own label"
        return f"of {self._validated} validation images"
