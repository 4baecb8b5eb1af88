"""A chain of blocks as a classifier of images, with normalisation, class names and number format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tbft.data.batches import Batch
from tbft.errors import BadInput, check_between
from tbft.models.base_weights import BaseWeights, read_weights
from tbft.models.chain import BlockChain
from tbft.models.number_format import FORMATS, NumberFormat, resolve_format
from tbft.models.weights_check import IMAGE_SIZES
from tbft.models.weights_fit import check_network, load_weights
from tbft.models.zoo import build
from tbft.normalisation import check_normalisation
from tbft.remedies.card import SourceCard


class Classifier(nn.Module):
    """A chain of blocks, and all that is needed to run it on images.

    Attributes:
        model: the chain.
        architecture: name under which ``build`` made the network; empty for a network given from Python.
        base: weights and metadata of the base model's file; ``None`` for fresh weights and for a network given from
            Python.
        classes: class names in the order of the outputs; empty if they are not known.
        mean, std: normalisation of images, on the scale 0 to 1.
        number_format: number format and memory layout of convolutions; ``None`` until ``cheapest`` is resolved for a
            device.
    """

    model: BlockChain
    architecture: str = ""
    base: BaseWeights | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    number_format: NumberFormat | None

    @property
    def num_classes(self) -> int:
        """Number of outputs of the head."""
        return self.model.num_classes

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return self.model.image_size

    @property
    def card(self) -> SourceCard:
        """The base model's source card, empty if it has none."""
        return (self.base and self.base.card) or SourceCard()

    def place(self, device: torch.device) -> None:
        """Move the network to a device, and set the chosen number format, or the cheapest one there."""
        self.to(device)
        self.compute_in(self.number_format or resolve_format("cheapest", device, self.model))

    def compute_in(self, number_format: NumberFormat) -> None:
        """Set the number format of all following passes."""
        self.number_format = number_format
        if number_format.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: Batch, stop: str | None = None) -> Tensor:
        """Run a batch through the chain, from the link at which it enters up to, not including, link ``stop``.

        Returns:
            Logits ``(N, num_classes)`` in fp32; with ``stop``, features ``(N, ...)`` in the format of the links.
        """
        x, how = batch.x, self.number_format or FORMATS["channels_last"]
        if how.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=how.bf16):
            y = self.model(x if how.bf16 else x.float(), start=batch.start, stop=stop)
        return y if stop else y.float()

    def load(
        self,
        base: str | None = None,
        architecture: str | None = None,
        num_classes: int | None = None,
        image_size: int | None = None,
        width: int | None = None,
    ) -> None:
        """Build the network and load the base model's weights.

        The arguments after ``base`` are those of ``build``; ``None`` takes the base model's own value. Without a base
        model ``architecture`` and ``num_classes`` are needed.

        Args:
            base: weights file, or name of a shipped base model; ``None`` keeps fresh weights.
            architecture: name of the network.
            num_classes: number of outputs of the head.
            image_size: side of the images, in pixels.
            width: channels of the first stage of a pre-activation network.

        Raises:
            BadInput: if the base model is missing or does not fit, or there is no network to build.
        """
        check_between(*IMAGE_SIZES, "model", image_size=image_size)
        check_between(2, 100_000, "model", num_classes=num_classes)
        check_between(1, 4096, "model", width=width)
        self.base = read_weights(base, architecture) if base else None
        self.classes = self.base.classes if self.base else ()
        known = {**self.base.network, "image_size": self.base.image_size or None} if self.base else {}
        if self.base and not known["image_size"]:
            known["image_size"] = self.base.network.get("image_size", None if ":" in known["architecture"] else 224)
        given = {"architecture": architecture, "num_classes": num_classes, "image_size": image_size, "width": width}
        chosen: dict[str, Any] = {**known, **{key: value for key, value in given.items() if value is not None}}
        if not self.base and (architecture is None or num_classes is None):
            raise BadInput("there is no network: give model.base, or model.architecture and model.num_classes")
        name = str(chosen["architecture"])
        if self.base:  # the base model's weights replace pretrained ones, so none are downloaded
            name = name.partition("@")[0]
        self.architecture = name
        network: dict[str, Any] = {
            "num_classes": int(chosen["num_classes"]),
            "image_size": chosen.get("image_size"),
            "width": int(chosen.get("width", 16)),
        }
        if any(value is not None for value in given.values()) and ":" not in name:
            check_network(self.base, name, **{**network, "image_size": network["image_size"] or 32})
        spec = known.get("spec") if name == known.get("architecture") else None
        self.model = build(name, **network, spec=spec)
        if self.base:
            load_weights(self.model, self.base)

    def describe_images(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        """Set the normalisation of images: the given one, else the base model's, else the usual one of the network.

        Args:
            mean: mean of each channel, on the scale 0 to 1.
            std: standard deviation of each channel, on the scale 0 to 1.

        Raises:
            BadInput: if the numbers are no normalisation of images.
        """
        self.mean = tuple(mean if mean is not None else (self.base and self.base.mean) or self.model.mean)
        self.std = tuple(std if std is not None else (self.base and self.base.std) or self.model.std)
        check_normalisation("model.", self.mean, self.std)


class PlainClassifier(Classifier):
    """A classifier without Lightning.

    Args:
        number_format: name of the number format (see ``ImageClassifier``).
    """

    def __init__(self, number_format: str = "channels_last") -> None:
        super().__init__()
        self.base, self.classes = None, ()
        self.number_format = FORMATS.get(number_format)
