"""How a network is cut into a chain: what stands beside it, and travels in its weights' file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tbft.errors import BadInput

HEAD, POOL = "fc", "pool"
"""Names of the last link, and of the one before it that is no block."""


@dataclass(frozen=True)
class LinkSpec:
    """One link of a chain.

    Attributes:
        name: ``block1``, ..., ``pool``, ``fc``.
        end: name of the last traced operation that belongs to it; empty where modules are named by hand.
        modules: names of the modules that it runs one after the other, where they are named by hand.
    """

    name: str
    end: str = ""
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainSpec:
    """A network as a chain of links.

    Attributes:
        links: in the order in which they run; the last one is the head's.
        head: name of the module that makes the logits: an ``nn.Linear`` or a 1 x 1 convolution.
        levels: drift level to the name of the block that is tuned for it.
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
        """As one line of JSON, the form in which it stands in a weights' file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChainSpec:
        """Read what ``to_json`` wrote.

        Raises:
            BadInput: if the text is something else.
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
