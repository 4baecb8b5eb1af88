"""Check that a base model's weights fit a network, and load them."""

from __future__ import annotations

import torch

from tbft.errors import BadInput
from tbft.models.base_weights import BaseWeights
from tbft.models.chain import BlockChain
from tbft.models.probe import agrees
from tbft.models.zoo import build, describe

MOST_PARAMETERS = 10**9
"""Largest number of parameters of a network with fresh weights: 4 GB in fp32."""


def check_network(base: BaseWeights | None, architecture: str, num_classes: int, image_size: int, width: int) -> None:
    """Check that a network can be built and can load its base model's weights, without allocating its memory.

    The arguments after ``base`` are those of ``build``.

    Args:
        base: base model; ``None`` for fresh weights.
        architecture: name of the network.
        num_classes: number of outputs of the head.
        image_size: side of the images, in pixels.
        width: channels of the first stage of a pre-activation network.

    Raises:
        BadInput: if a network with fresh weights is too large, or the base model's weights are of another network.
    """
    try:
        with torch.device("meta"):
            outline = build(architecture, num_classes=num_classes, image_size=image_size, width=width)
        parameters = sum(parameter.numel() for parameter in outline.parameters())
    except RuntimeError:  # the number of bytes exceeds 64 bits
        outline, parameters = None, 2**63
    if base and outline:
        check_fits(outline, base)
    elif parameters > MOST_PARAMETERS:
        raise BadInput(
            f"{architecture} of width {width} for {num_classes} classes and images of {image_size} px has more than "
            f"{MOST_PARAMETERS / 1e9:g} billion parameters: give a smaller model.width, model.image_size or "
            "model.num_classes"
        )


def load_weights(chain: BlockChain, base: BaseWeights) -> None:
    """Load a base model's weights into a network.

    Raises:
        BadInput: if the weights have another number of classes or another architecture, or their file names other
            logits for a fixed image than the network gives.
    """
    check_fits(chain, base)
    own = chain.state_dict()
    chain.load_state_dict({key: value for key, value in base.weights.items() if key in own}, strict=False)
    if base.probe and not agrees(chain, base.probe, base.image_size):
        name = base.network.get("architecture")
        raise BadInput(
            f"{base.path} has the weights of a {name} that was made or changed otherwise than the one built by this "
            "name: put them into that network yourself (safetensors.torch.load_file) and give it"
        )


def check_fits(chain: BlockChain, base: BaseWeights) -> None:
    """Check that a base model's weights have the shapes of a network, which may be on the meta device.

    Raises:
        BadInput: if the weights have another number of classes or another architecture.
    """
    own = chain.state_dict()
    given = {key: value for key, value in base.weights.items() if key in own}
    classes = base.network.get("num_classes", chain.num_classes)
    if classes != chain.num_classes:
        raise BadInput(
            f"{base.path} tells {classes} classes apart and the data has {chain.num_classes}: "
            "choose the base model that belongs to this data"
        )
    wrong = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    wrong += [k for k in base.weights if k not in own]
    wrong += [k for k, v in given.items() if v.shape != own[k].shape]
    if wrong == ["fc.weight"] and base.network.get("image_size"):
        side = base.image_size or base.network["image_size"]
        raise BadInput(
            f"{base.path} takes images of {side} px and not of {chain.image_size} px: leave model.image_size out, or "
            "choose another base model"
        )
    if wrong:
        width = base.network.get("width")
        what = f"{base.network.get('architecture')}" + (f" of width {width}" if width else "")
        built = describe(own) or {}
        if all(built.get(key) == base.network.get(key) for key in ("architecture", "width")):
            raise BadInput(
                f"{base.path} is much like a {what} but not one (first difference at {wrong[0]}): such a network is "
                "not supported, choose another base model"
            )
        raise BadInput(
            f"{base.path} is of another architecture ({what}; first difference at {wrong[0]}): leave "
            "model.architecture out to take the checkpoint's own, or choose another base model"
        )
