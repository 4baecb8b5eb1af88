"""Training by steps: optimiser, learning rates and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.optimizer import _use_grad_for_differentiable

from tbft.errors import BadInput, check_positive
from tbft.models.chain import BlockChain

OptimizerCallable = Callable[[Iterable], Optimizer]
Schedule = Literal["constant", "cosine", "one_cycle"]


@cache
def without_compiler(kind: Any) -> Any:
    """Return a subclass of an optimiser that does the same without importing torch's compiler.

    torch 2 imports ``torch._dynamo`` (with triton and sympy, over a CPU-second) when the first optimiser of a process
    is made and when it steps. The reason is wrappers around its methods. ``torch._disable_dynamo``, which has an effect
    only in compiled code, wraps the methods that add parameters, clear gradients, save and load.
    ``_use_grad_for_differentiable``, which also sets the gradient mode, wraps ``step``. A method is unwrapped only if
    its wrapper is exactly one of these two; under a torch version with other wrappers the method stays as it is.

    Args:
        kind: optimiser class, torch's or another one.
    """

    def probe() -> None:
        """Serve as a function to wrap, whose wrapped form shows the code of a wrapper."""

    methods: dict[str, Any] = {}
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = getattr(kind, name)
        if method.__code__ is torch._disable_dynamo(probe).__code__:
            methods[name] = method.__wrapped__  # type: ignore[attr-defined]
    hooked = kind.step
    step: Any = hooked.__wrapped__ if hasattr(hooked, "hooked") else hooked  # hooked where one was made before
    if getattr(step, "__code__", None) is _use_grad_for_differentiable(probe).__code__:  # type: ignore[arg-type]
        own_step = step.__wrapped__

        def step_alone(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
            with torch.set_grad_enabled(self.defaults["differentiable"]):
                return own_step(self, *args, **kwargs)

        methods["step"] = step_alone
    return type(kind.__name__, (kind,), methods)


def _usual(parameters: Iterable) -> Optimizer:
    return without_compiler(torch.optim.AdamW)(parameters, lr=5e-3)


@dataclass(frozen=True)
class Optimization:
    """Optimiser, learning rates and schedule.

    Args:
        make_optimizer: function from parameter groups to an optimiser.
        learning_rates: learning rates of single blocks, by name of the block, instead of the optimiser's.
        schedule: learning rate over the run: ``constant``, ``cosine`` or ``one_cycle`` (see ``ImageClassifier``).

    Raises:
        BadInput: if a learning rate is not above 0, or the schedule is unknown.
    """

    make_optimizer: OptimizerCallable = _usual
    learning_rates: Mapping[str, float] | None = None
    schedule: Schedule = "one_cycle"

    def __post_init__(self) -> None:
        check_positive("model.learning_rates", **(self.learning_rates or {}))
        if self.schedule not in get_args(Schedule):
            raise BadInput(f"model.schedule is {self.schedule!r}: choose one of {', '.join(get_args(Schedule))}")

    def check_length(self, max_epochs: int | None, max_steps: int = -1) -> None:
        """Refuse a schedule that depends on the length of the run for a run without an end.

        Args:
            max_epochs: epochs of the run; -1 for no limit, as in Lightning's trainer.
            max_steps: optimiser steps of the run; -1 for no limit.

        Raises:
            BadInput: if the schedule is not ``constant`` and both are -1.
        """
        if self.schedule != "constant" and max_epochs == max_steps == -1:
            raise BadInput(
                f"model.schedule {self.schedule} needs an end of the run: give trainer.max_epochs or "
                "trainer.max_steps, or --model.schedule constant"
            )

    def check_optimizer(self, network: BlockChain) -> None:
        """Make the optimiser once, to check its arguments.

        Raises:
            BadInput: if it cannot be made, a learning rate is not above 0, another argument is not finite, or a block
                is unknown.
        """
        network.resolve([*(self.learning_rates or {})])
        try:
            groups = self.optimizer_for(network).param_groups
        except Exception as error:  # each optimiser refuses in its own way
            raise BadInput(f"model.optimizer cannot be made ({' '.join(str(error).split())}): correct it") from None
        for group in groups:
            check_positive("model.optimizer.init_args", lr=float(group.get("lr", 1)))
            for name, value in group.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise BadInput(f"model.optimizer.init_args.{name} is {value}: give a finite number")

    def optimizer_for(self, network: BlockChain) -> Optimizer:
        """Make the optimiser of the parameters that require gradients, in one group per learning rate."""
        of_block = {
            id(parameter): rate
            for block, rate in (self.learning_rates or {}).items()
            for module in network.modules_of(network.resolve([block]))
            for parameter in module.parameters(recurse=False)
        }
        groups: dict[float | None, list[nn.Parameter]] = {}
        for parameter in network.parameters():
            if parameter.requires_grad:
                groups.setdefault(of_block.get(id(parameter)), []).append(parameter)
        return self.make_optimizer(
            [{"params": group} | ({} if rate is None else {"lr": rate}) for rate, group in groups.items()]
        )

    def scheduler_for(self, optimizer: Optimizer, steps: int) -> LRScheduler | None:
        """Make the scheduler of the learning rates over ``steps`` optimiser steps; ``None`` where they are constant."""
        if self.schedule == "constant":
            return None
        if self.schedule == "cosine":
            return CosineAnnealingLR(optimizer, steps)
        return OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=max(steps, 2),  # a cycle has at least two steps
            cycle_momentum=not {"momentum", "betas"}.isdisjoint(optimizer.defaults),
        )


def count_steps(batches: int, epochs: int, *, accumulated: int = 1, max_steps: int = -1) -> int:
    """Return the number of optimiser steps of a whole run, at least 1.

    Args:
        batches: batches in an epoch.
        epochs: epochs in the run; negative for no limit.
        accumulated: batches in one optimiser step.
        max_steps: largest number of optimiser steps; negative for no limit.
    """
    ends = [math.ceil(batches / accumulated) * epochs, max_steps]
    return max(min(end for end in ends if end >= 0), 1)
