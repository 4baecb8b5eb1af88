"""Choose the places at which a traced network is cut into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from tbft.errors import BadInput
from tbft.models.chain import LEVELS
from tbft.models.operations import Operations, name_inside
from tbft.models.spec import HEAD, POOL, ChainSpec, LinkSpec
from tbft.models.tracing import is_layer, modules_around

_PARTS = 3  # blocks, besides the head, of a network with one resolution
_SAME_RESOLUTION = 0.6
"""A new resolution begins where the number of positions falls below this share of the one before. Class tokens change
the number a little within one resolution."""
IMAGES = 3
"""Number of images in the pass that observes shapes; a first dimension of 3 is then very likely that of the images."""


@dataclass(frozen=True)
class Cut:
    """A place between two operations where a single tensor holds all that later operations need of the images.

    Attributes:
        after: index of the operation after which to cut.
        positions: positions of an image in the tensor: ``H * W`` of a feature map, or the length of a token sequence.
        width: number of values at one position.
    """

    after: int
    positions: int
    width: int


def find_head(operations: Operations) -> int:
    """Return the index of the operation that makes the logits, the last one with parameters.

    Raises:
        BadInput: if that operation is neither a linear layer nor a 1 x 1 convolution.
    """
    last = max((i for i, names in enumerate(operations.parameters) if names), default=None)
    module = operations.module(operations.nodes[last]) if last is not None else None
    if last is not None and (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and _pointwise(module))):
        return last
    name = type(operations.network).__name__
    found = f"its last layer is {operations.nodes[last].target}" if last is not None else "it has no parameters"
    raise BadInput(
        f"{name} has no linear head ({found.replace('network.', '')}): give a classifier whose last layer is an "
        "nn.Linear or a 1 x 1 convolution"
    )


def choose_cuts(operations: Operations) -> ChainSpec:
    """Cut a network into stages, ``pool`` and head.

    A stage is a resolution at which the network branches (residual connections, squeeze and excitation, attention). In
    a network that never branches (VGG), a stage is any resolution of more than one position that has parameters. Layers
    before the first stage belong to it. A stage ends at the cut of its resolution with the fewest values, and of equal
    ones at the last. That cut must not lie before the first branch of the stage (or its first parameters), because the
    block would then lack the stage. A network with one stage (a ViT) is cut into three parts with about equally many
    parameters. The rest before the head is ``pool``. Blocks that share a parameter are joined.

    Raises:
        BadInput: if there is no linear head, or it shares parameters with a block.
    """
    head = find_head(operations)
    cuts = [cut for cut in _cuts(operations) if cut.after < head]
    stages = _stages(operations, [cut for cut in cuts if cut.positions])
    candidates = [_narrowest(stage)[-1].after for stage in stages]
    if len(stages) == 1:
        candidates = _equal_parts(operations, _narrowest(stages[0]))
    ends: list[int] = []
    for end in candidates:  # a block without parameters (pooling alone) is joined to the next one
        if _parameters(operations, ends[-1] if ends else -1, end):
            ends.append(end)
    return spec_of(operations, ends, cuts[-1].after if cuts else -1, head)


def cut_behind(operations: Operations, modules: Sequence[str]) -> ChainSpec:
    """Cut a network after the named modules: ``block1`` ends with the first of them, and so on.

    Raises:
        BadInput: if there is no such module, or later operations need more than one tensor there.
    """
    head = find_head(operations)
    cuts = [cut.after for cut in _cuts(operations) if cut.after < head]
    ends = []
    for name in modules:
        path = f"network.{name}"
        inside = [i for i, node in enumerate(operations.nodes) if path in modules_around(node)]
        if not inside or inside[-1] not in cuts:
            why = "more than one tensor is alive behind it" if inside else "there is no such module in what it runs"
            raise BadInput(f"{type(operations.network).__name__} cannot be cut behind {name!r} (blocks=): {why}")
        ends.append(inside[-1])
    return spec_of(operations, ends, cuts[-1] if cuts else -1, head)


def spec_of(operations: Operations, ends: list[int], before_head: int, head: int) -> ChainSpec:
    """Return the spec of the chain whose blocks end after given operations.

    Args:
        operations: operations of the network.
        ends: index of the last operation of each block, in order.
        before_head: index of the last operation before the head's link; -1 if the head is the whole network.
        head: index of the operation that makes the logits.

    Raises:
        BadInput: if the head shares parameters or statistics with a block.
    """
    ends = ends or [before_head]
    edges = sorted({-1, *ends, before_head, len(operations.nodes) - 1})
    start = 1
    while start < len(edges) - 1:  # join links that share a parameter or statistics
        if _state(operations, -1, edges[start]) & _state(operations, edges[start], edges[-1]):
            del edges[start]
        else:
            start += 1
    if before_head not in edges or before_head == -1:
        alone = "has nothing before it, or takes more than one tensor"
        why = alone if before_head == -1 else "shares parameters with what is before it"
        raise BadInput(
            f"{type(operations.network).__name__} cannot be cut before its head, which {why}: give a classifier with "
            "one head of its own"
        )
    last_block = max([edge for edge in edges if edge in ends], default=before_head)
    names = [POOL if last_block < edge <= before_head else "block" for edge in edges[1:-1]]
    names = [f"block{i + 1}" if name == "block" else name for i, name in enumerate(names)] + [HEAD]
    links = [LinkSpec(n, operations.nodes[e].name) for n, e in zip(names, edges[1:], strict=True)]
    return ChainSpec(tuple(links), name_inside(operations.nodes[head]), levels_of(names))


def levels_of(names: Sequence[str]) -> dict[str, str]:
    """Return the block of each drift level: first stage, last stage, head (paper, section 3)."""
    stages = [name for name in names if name not in (POOL, HEAD)]
    return dict(zip(LEVELS, (stages[0], stages[-1], HEAD), strict=True))


def _parameters(operations: Operations, after: int, last: int) -> set[str]:
    """Return the names of the parameters that the operations after ``after``, up to ``last``, read.

    Parameters count too that they read through operations that do not depend on the images.
    """
    nodes = operations.span(after + 1, last)
    return {name for node in nodes for name in operations.parameters[operations.index[node]]}


def _state(operations: Operations, after: int, last: int) -> set[str]:
    """Return the names that ``_parameters`` gives, and of the norms whose statistics these operations change."""
    nodes = operations.span(after + 1, last)
    return _parameters(operations, after, last) | {
        name for node in nodes for name in operations.statistics[operations.index[node]]
    }


def _cuts(operations: Operations) -> list[Cut]:
    """Return all places where the only tensor that is still needed has the images' dimension, in order.

    ``positions`` is 0 if the tensor has no positions (features ``(N, F)``) or is a mere view of the one before.
    """
    found = []
    for i, living in enumerate(operations.alive()):
        value = operations.values[living[0]] if len(living) == 1 else None
        if i == 0 or value is None or value.shape[:1] != (IMAGES,) or not value.is_floating_point():
            continue
        node = operations.nodes[living[0]]
        if node.op == "placeholder" or any(_overwrites(operations, user, node) for user in node.users):
            continue
        before = [operations.values[operations.index[n]] for n in node.all_input_nodes]
        view = any(b is not None and b.data_ptr() == value.data_ptr() and b.shape != value.shape for b in before)
        positions = 0 if view else _positions(value)
        found.append(Cut(i, positions, value.numel() // IMAGES // max(positions, 1)))
    return found


def _positions(value: Tensor) -> int:
    """Return the positions of an image in a square feature map or a token sequence; 0 for features ``(N, F)``."""
    if value.dim() == 4:
        return value.shape[2] ** 2  # dimension 2 is a side in N, C, H, W and in N, H, W, C
    return value.shape[1] if value.dim() == 3 else 0


def _overwrites(operations: Operations, user: fx.Node, node: fx.Node) -> bool:
    """Return whether an operation overwrites its input, which no link may do."""
    return user.args[:1] == (node,) and operations.in_place(user)


def _stages(operations: Operations, cuts: list[Cut]) -> list[list[Cut]]:
    """Return the cuts of each stage, in order: those at its resolution, from its first branch (or parameters) on."""
    resolutions: list[list[Cut]] = []
    largest = 0
    for cut in reversed(cuts):
        largest = max(largest, cut.positions)
        if not resolutions or resolutions[0][-1].positions < _SAME_RESOLUTION * largest:
            resolutions.insert(0, [])
        resolutions[0].insert(0, Cut(cut.after, largest, cut.width))
    alive = [len(living) for living in operations.alive()]
    branching, weighted, start = [], [], 0
    for group in resolutions:
        nodes = range(start, group[-1].after + 1)
        start = nodes.stop
        branching.append(next((i for i in nodes if alive[i] > 1 or _hides_a_branch(operations, i)), None))
        weighted.append(next((i for i in nodes if operations.parameters[i] and group[-1].positions > 1), None))
    firsts = branching if any(first is not None for first in branching) else weighted
    return [
        [cut for cut in group if cut.after >= first]
        for group, first in zip(resolutions, firsts, strict=True)
        if first is not None
    ]


def _narrowest(stage: list[Cut]) -> list[Cut]:
    """Return the cuts of one resolution that have the fewest values."""
    width = min(cut.width for cut in stage)
    return [cut for cut in stage if cut.width == width]


def _equal_parts(operations: Operations, cuts: list[Cut]) -> list[int]:
    """Return the ends of three parts with about equally many parameters; the last part ends at the last cut."""
    sizes = {name: parameter.numel() for name, parameter in operations.network.named_parameters()}
    read = [sum(sizes[name] for name in _parameters(operations, -1, cut.after)) for cut in cuts]
    ends = []
    for part in range(1, _PARTS):
        nearest = min(range(len(cuts)), key=lambda i: abs(read[i] - part * read[-1] / _PARTS))
        ends.append(cuts[nearest].after)
    return sorted({*ends, cuts[-1].after})


def _hides_a_branch(operations: Operations, i: int) -> bool:
    """Return whether an operation runs an untraced module that keeps its input's shape, as residual blocks do."""
    module, value = operations.module(operations.nodes[i]), operations.values[i]
    if module is None or is_layer(module) or value is None or not operations.parameters[i]:
        return False
    entering = operations.values[operations.index[operations.nodes[i].all_input_nodes[0]]]
    return entering is not None and entering.shape == value.shape


def _pointwise(module: nn.Conv2d) -> bool:
    return module.kernel_size == (1, 1) and module.groups == 1
