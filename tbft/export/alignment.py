"""The step that aligns the front block with the source without labels, and the moments that it is aligned to.

The loss compares two Gaussians: the squared distance of mean and covariance of the block's output to the source's, each
relative to its own norm. The output is taken in 3 x 3 neighbourhoods, so that the covariance knows edges
and not channels alone (deep CORAL, Sun and Saenko 2016, arXiv:1607.01719, compares covariances of single features).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from torch import Tensor

from tbft.errors import BadInput
from tbft.export.batch_norm import append_nodes
from tbft.export.forward import Forward
from tbft.export.gradient import append_gradient
from tbft.export.graph import Graph
from tbft.export.inference import append_pixels
from tbft.export.optimizer import Optimizer
from tbft.export.training import TrainedKeys, append_update, append_vector, rename_inputs
from tbft.models.chain import BlockChain
from tbft.models.moments import IMAGES_MEASURED, NEIGHBOURHOOD, moments_of, stride_on
from tbft.models.statistics import inference_mode_of
from tbft.remedies import Moments

MOST_CHANNELS = 128
"""Of the block's output; at 128 the covariance of its neighbourhoods takes 5 MiB."""


@torch.no_grad()
def source_moments(chain: BlockChain, images: Tensor, block: str) -> Moments:
    """Moments of what a block makes of source images, in inference mode.

    Args:
        chain: the base model.
        images: ``(N, C, H, W)``, normalised; 500 are enough.
        block: the front block.
    """
    following = chain.links[chain.links.index(block) + 1]
    with inference_mode_of(chain):
        return moments_of((chain(batch, stop=following) for batch in images.split(IMAGES_MEASURED)), NEIGHBOURHOOD)


def alignment_step(
    forward: Forward,
    block: str,
    parameters: Sequence[str],
    optimizer: Optimizer,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[bytes, TrainedKeys]:
    """One step that aligns the front block on a batch of pixels, its BatchNorm layers in training mode.

    Args:
        forward: the network.
        block: its first block.
        parameters: state-dict keys of the parameters that train.
        optimizer: whose step it is.
        mean: normalisation of the images on the scale 0 to 1.
        std: likewise.

    Returns:
        The graph (``parameters``, ``moment1``, ..., ``pixels``, ``source_mean``, ``source_covariance``, ``rate``,
        ``step`` to ``new_parameters``, ``new_moment1``, ..., ``loss``), and what stands in its vectors.

    Raises:
        BadInput: if an operator has no gradient here, or the block's output has too many channels.
    """
    channels = forward.shapes[block][1]
    if channels is None or len(forward.shapes[block]) != 4 or channels > MOST_CHANNELS:
        raise BadInput(f"{block} makes {channels} channels: it is aligned up to {MOST_CHANNELS}")
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    read = append_vector(graph, "parameters", parameters)
    nodes = [rename_inputs(node, read) for node in forward.span(None, block)]
    append_nodes(graph, nodes, lambda _: True)
    loss, seeds, unfolding = _append_loss(graph, block, channels)
    gradients = append_gradient(graph, [*nodes, *unfolding], seeds, list(read.values()), forward.layers)
    outputs = append_update(graph, optimizer, [gradients[name] for name in read.values()])
    graph.op("Identity", loss, output="loss")
    return graph.serialize({**outputs, "loss": np.float32}), TrainedKeys(tuple(parameters), ())


def _append_loss(graph: Graph, block: str, channels: int) -> tuple[str, dict[str, str], list[onnx.NodeProto]]:
    """The loss, its gradient with respect to the neighbourhoods, and the node that cuts the output into these."""
    taps, size = NEIGHBOURHOOD**2, channels * NEIGHBOURHOOD**2
    stride = stride_on(graph.shape_of(block)[2:])
    rows, columns = (((side or 0) - NEIGHBOURHOOD) // stride + 1 for side in graph.shape_of(block)[2:])
    # A convolution with one-hot kernels: tap t of channel c becomes channel 9 c + t, the order of torch's unfold.
    kernel = np.tile(np.eye(taps).reshape(taps, 1, NEIGHBOURHOOD, NEIGHBOURHOOD), (channels, 1, 1, 1))
    patches = graph.op(
        "Conv",
        block,
        graph.constant(kernel),
        group=channels,
        kernel_shape=[NEIGHBOURHOOD, NEIGHBOURHOOD],
        strides=[stride, stride],
        shape=(None, size, rows, columns),
    )
    unfolding = [graph.nodes[-1]]
    by_value = graph.op("Reshape", graph.op("Transpose", patches, perm=[1, 0, 2, 3]), graph.integers(size, -1))
    mean = graph.op("ReduceMean", by_value, graph.integers(1), keepdims=1)
    centred = graph.op("Sub", by_value, mean)
    count = graph.op("Cast", graph.op("Shape", by_value, start=1, end=2), to=1)
    covariance = graph.op("Div", graph.op("MatMul", centred, graph.op("Transpose", centred, perm=[1, 0])), count)
    source = (
        graph.add_input("source_mean", np.float32, (size,)),
        graph.add_input("source_covariance", np.float32, (size, size)),
    )
    targets = graph.op("Reshape", source[0], graph.integers(-1, 1)), source[1]
    losses, slopes = [], []
    for own, target in zip((mean, covariance), targets, strict=True):
        off = graph.op("Sub", own, target)
        unit = graph.op("ReduceSumSquare", target, keepdims=0)
        losses.append(graph.op("Div", graph.op("ReduceSumSquare", off, keepdims=0), unit))
        slopes.append(graph.op("Mul", off, graph.op("Div", graph.constant(2.0), unit)))
    # d/dx of the mean is 1 / M everywhere; of the covariance 2 S (x - mean) / M for a symmetric slope S.
    from_covariance = graph.op("Mul", graph.op("MatMul", slopes[1], centred), graph.constant(2.0))
    slope = graph.op("Div", graph.op("Add", from_covariance, slopes[0]), count)
    images = graph.op("Reshape", slope, graph.integers(size, -1, rows, columns))
    seed = graph.op("Transpose", images, perm=[1, 0, 2, 3])
    return graph.op("Add", *losses), {patches: seed}, unfolding
