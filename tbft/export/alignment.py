"""The training step that aligns the front block with the source without labels, and the source's moments for it.

The loss compares two Gaussians: the squared distances of the mean and covariance of the block's output to the source's,
each relative to the squared norm of the source's. The output is taken in 3 x 3 neighbourhoods, so that the covariance
describes edges and not only channels (deep CORAL, Sun and Saenko 2016, arXiv:1607.01719, compares covariances of single
features).
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
"""Most channels of the block's output; with 128 the covariance of its neighbourhoods takes 5 MiB."""


@torch.no_grad()
def source_moments(chain: BlockChain, images: Tensor, block: str) -> Moments:
    """Measure the moments of a block's output on source images, in inference mode.

    Args:
        chain: base model.
        images: normalised source images ``(N, C, H, W)``; 500 are enough.
        block: name of the front block.
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
    """Make the graph of one step that aligns the front block on a batch, with its BatchNorm layers in training mode.

    Args:
        forward: forward pass of the network.
        block: name of the network's first block.
        parameters: state-dict keys of the parameters that train.
        optimizer: optimiser that makes the step.
        mean: mean for normalising images, on the scale 0 to 1.
        std: standard deviation for normalising images, on the same scale.

    Returns:
        The graph (inputs ``parameters``, ``moment1``, ..., ``pixels``, ``source_mean``, ``source_covariance``,
        ``rate``, ``step``; outputs ``new_parameters``, ``new_moment1``, ..., ``loss``), and the keys of the tensors in
        its vectors.

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
    """Append the loss of an alignment and its gradient with respect to the neighbourhoods of a block's output.

    Returns:
        The loss; the gradient by the name of the tensor of neighbourhoods; and the node that makes that tensor.
    """
    taps, size = NEIGHBOURHOOD**2, channels * NEIGHBOURHOOD**2
    stride = stride_on(graph.shape_of(block)[2:])
    rows, columns = (((side or 0) - NEIGHBOURHOOD) // stride + 1 for side in graph.shape_of(block)[2:])
    # Convolve with one-hot kernels: tap t of channel c becomes channel 9 c + t, which is the order of torch's unfold.
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
    # The derivative by x is 1 / M for the mean, and 2 S (x - mean) / M for the covariance with a symmetric slope S.
    from_covariance = graph.op("Mul", graph.op("MatMul", slopes[1], centred), graph.constant(2.0))
    slope = graph.op("Div", graph.op("Add", from_covariance, slopes[0]), count)
    images = graph.op("Reshape", slope, graph.integers(size, -1, rows, columns))
    seed = graph.op("Transpose", images, perm=[1, 0, 2, 3])
    return graph.op("Add", *losses), {patches: seed}, unfolding
