"""The spec of a chain: where a network is cut, as stored in its weights file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tbft.errors import BadInput

HEAD, POOL = "fc", "pool"
"""Names of the last link, and of the link before it, which is no block."""


@dataclass(frozen=True)
class LinkSpec:
    """One link of a chain.

    Attributes:
        name: name of the link: ``block1``, ..., ``pool``, ``fc``.
        end: name of the last traced operation of the link; empty where modules are named by hand.
        modules: names of the modules that run one after the other, where they are named by hand.
    """

    name: str
    end: str = ""
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainSpec:
    """The links of a chain.

    Attributes:
        links: links in the order in which they run; the last one holds the head.
        head: name of the module that makes the logits: an ``nn.Linear`` or a 1 x 1 convolution.
        levels: name of the block that is tuned for each drift level.
    """

    links: tuple[LinkSpec, ...]
    head: str
    levels: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all links, in order."""
        return tuple(link.name for link in self.links)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the links that can be tuned on their own, in order."""
        return tuple(name for name in self.names if name != POOL)

    def to_json(self) -> str:
        """Return the spec as one line of JSON, as a weights file stores it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChainSpec:
        """Read a spec that ``to_json`` wrote.

        Raises:
            BadInput: if the text is no spec, or the spec contradicts itself.
        """
        try:
            value: Any = json.loads(text)
            links = tuple(
                LinkSpec(str(link["name"]), str(link["end"]), tuple(map(str, link["modules"])))
                for link in value["links"]
            )
            spec = cls(links, str(value["head"]), {str(k): str(v) for k, v in value["levels"].items()})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BadInput(f"the chain's spec cannot be read ({text[:40]!r}): save the model again") from None
        if len(set(spec.names)) != len(spec.names) or spec.names[-1:] != (HEAD,):
            raise BadInput(f"the chain's spec has the links {list(spec.names)}: each must be there once, {HEAD!r} last")
        if not set(spec.levels.values()) <= set(spec.blocks):
            raise BadInput(f"the chain's spec tunes {spec.levels}, and its blocks are {', '.join(spec.blocks)}")
        return spec
