"""One adaptation: a base model and labelled images in, the better of base and adapted model out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.evaluation import evaluate, tally
from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.freezing import BlockFreeze
from tbft.adaptation.keep_best import KeepBest
from tbft.adaptation.progress import Progress
from tbft.adaptation.score import Tally
from tbft.adaptation.source_card import measure_source_card
from tbft.data.labelled import LabelledData
from tbft.energy.run_meter import RunMeter
from tbft.errors import BadInput
from tbft.models.classifier import Classifier
from tbft.remedies import SourceCard
from tbft.remedies.aligned import epochs_behind
from tbft.remedies.validated import Score
from tbft.schema import RunRecord


@dataclass
class Adaptation:
    """All parts and options of one adaptation.

    The links to train are chosen when this is made, before there is an optimiser or a Trainer.

    Args:
        classifier: the classifier, with the base model's weights.
        data: opened labelled images.
        freeze: choice of the blocks that train, and policy of the BatchNorm statistics.
        head: settings of the solved head.
        cache: settings of the cache of the frozen prefix's outputs.
        meter: meter that books energy and time to phases.
        seed: seed of everything that is drawn at random.
        max_epochs: epochs of training by steps; 0 trains none, ``None`` leaves the number to the trainer.
        accelerator: Lightning's name of the device to compute on; ``None`` is ``auto``.
        keep: choice between the adapted weights and the base model's.
        progress: epochs, steps and learning curve so far.
        test_accuracy: accuracy on the test images, a fraction of 1, of the base model (``base``) and of the kept model
            (``kept``); ``None`` until ``test`` has run.

    Raises:
        BadInput: if neither the options nor the data say what drifted, a block is unknown, or a head is to be solved
            that is more than one linear layer.

    Attributes:
        target: links that train, in chain order.
        aligns: whether the front block is aligned before training by steps.
    """

    classifier: Classifier
    data: LabelledData
    freeze: BlockFreeze
    head: ClosedFormHead
    cache: FeatureCache
    meter: RunMeter
    seed: int = 0
    max_epochs: int | None = None
    accelerator: str | None = None
    keep: KeepBest = field(default_factory=KeepBest)
    progress: Progress = field(default_factory=Progress)
    test_accuracy: dict[str, float | None] = field(default_factory=lambda: {"base": None, "kept": None})
    aligns: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.target = self.freeze.target_of(self.classifier.model, self.data.drift)
        if self.solves_head and not self.classifier.model.linear_head:
            raise BadInput(
                "the head of this network is more than one linear layer on features and cannot be solved: give "
                "--head.solve false to train it"
            )
        chain = self.classifier.model
        if self.trains_by_steps and not any(True for part in chain.modules_of(self.target) for _ in part.parameters()):
            raise BadInput(f"{', '.join(self.target)} of this network has no weight to train: name other blocks")
        aligns = self.freeze.aligned or self.freeze.aligns(self.classifier, self.target, self.data.drift)
        self.aligns = self.trains_by_steps and aligns

    @property
    def has_base(self) -> bool:
        """Whether there is a base model to fall back to; there is none while a base model is trained from scratch."""
        return not self.data.drift.is_source or self.classifier.base is not None

    @property
    def blocks(self) -> list[str]:
        """The blocks among the links that train."""
        return [link for link in self.target if link in self.classifier.model.blocks]

    @property
    def strategy(self) -> str:
        """Name of the strategy in the record."""
        return self.freeze.strategy_of(self.classifier.model, self.data.drift)

    @property
    def statistics(self) -> str:
        """Policy of the BatchNorm statistics in the record."""
        return self.freeze.statistics

    @property
    def solves_head(self) -> bool:
        """Whether the head is solved, and nothing else trains."""
        return self.head.solve and self.target == ("fc",)

    @property
    def trains_by_steps(self) -> bool:
        """Whether an optimiser trains the target."""
        return bool(self.target) and self.max_epochs != 0 and not self.solves_head

    @property
    def epochs(self) -> int | None:
        """Largest number of epochs of training by steps: ``max_epochs``, less one where an alignment replaces one."""
        assert self.data.train is not None
        if self.max_epochs is None or not self.aligns or self.freeze.align != "for_an_epoch":
            return self.max_epochs
        return epochs_behind(self.max_epochs, len(self.data.train))

    def run_without_steps(self) -> None:
        """Refresh statistics and solve the head, without an optimiser. Afterwards the network has the kept weights."""
        assert not self.trains_by_steps and self.data.train is not None
        chain = self.classifier.model
        with self.preparing():
            self.prepare_network()
            if self.solves_head:
                self.head.solve_into(self.classifier, self.data)
            self.score_base()
            self.keep.settle(chain, self.validate)

    def prepare_network(self) -> None:
        """Freeze all but the target, align and refresh; score the base model first where statistics will change."""
        assert self.data.train is not None
        self.freeze.freeze(self.classifier.model, self.target)
        if self.freeze.statistics != "source":
            self.score_base()
        if self.freeze.refreshes:
            self.freeze.prepare(self.classifier, self.data, self.seed, by_steps=self.trains_by_steps)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Seed, start the meter, place network and images, and book the body to the phase ``prepare``."""
        seed_everything(self.seed)
        device = choose_device(self.accelerator)
        cuda = device.type == "cuda"
        self.meter.start(threads=torch.get_num_threads(), synchronize=torch.cuda.synchronize if cuda else None)
        with self.meter.phase("prepare"):
            self.classifier.place(device)
            self.data.move_to(device)
            self.keep.remember_base(self.classifier.model)
            yield

    def test(self) -> Tally:
        """Score the kept model and the base model on the test images.

        The cost is booked to the phase ``test``, which is no part of the adaptation.

        Returns:
            Losses and predictions of the kept model.
        """
        assert self.data.test is not None
        chain, found = self.classifier.model, self.test_accuracy
        self.meter.end_adaptation()
        self.classifier.place(choose_device(self.accelerator))  # Lightning moves the model off it after training
        with self.meter.phase("test"):
            counted = tally(self.classifier, self.data.test)
            found["kept"] = counted.score().accuracy
            if self.has_base and self.keep.kept == "base":
                found["base"] = found["kept"]
            elif self.has_base:
                adapted = {key: value.clone() for key, value in chain.state_dict().items()}
                chain.load_state_dict(self.keep.base_weights)
                found["base"] = evaluate(self.classifier, self.data.test).accuracy
                chain.load_state_dict(adapted)
        return counted

    def add_to(self, record: RunRecord) -> None:
        """Add to the record the fields of this kind of adaptation."""
        record["aligned"] = self.freeze.aligned

    def source_card(self) -> SourceCard | None:
        """Return the source card of the kept weights.

        Returns:
            The base model's own card where the base model was kept; a measured card where a base model was trained
            from source data; ``None`` otherwise, and where a trained base model cannot be measured.
        """
        if self.data.drift.is_source:
            assert self.data.val is not None
            if not self.classifier.model.linear_head or self.data.val.start is not None:
                return None
            self.classifier.place(choose_device(self.accelerator))
            return measure_source_card(self.classifier, self.data)
        base = self.classifier.base
        return base.card if base and self.keep.kept == "base" else None

    def score_base(self) -> None:
        """Score the base model, if there is one, on the validation images; only the first call does so."""
        if self.has_base:
            self.keep.score_base(self.classifier.model, self.validate)

    def validate(self) -> Score:
        """Score the network's present weights on the validation images, booked to the phase ``validate``."""
        assert self.data.val is not None
        with self.meter.phase("validate"):
            return evaluate(self.classifier, self.data.val)


def choose_device(accelerator: str | None) -> torch.device:
    """Return the torch device for Lightning's name of an accelerator.

    Args:
        accelerator: ``cpu``, ``gpu``, ``cuda``, ``mps`` or ``auto``; ``auto`` and ``None`` take CUDA before MPS before
            the processor, as far as they are present.

    Raises:
        BadInput: if this machine has no such device.
    """
    wanted = accelerator or "auto"
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if wanted in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if wanted in ("auto", "cpu"):
        return torch.device("cpu")
    raise BadInput(
        f"trainer.accelerator is {wanted} and torch finds no such device here: leave gpu.yaml out, or give "
        "--trainer.accelerator cpu"
    )


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
