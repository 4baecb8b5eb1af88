"""The cheapest number format and memory layout for convolutions on the machine at hand: measured, not guessed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NumberFormat:
    """How a network computes.

    Attributes:
        channels_last: memory layout N, H, W, C of images and features.
        bf16: convolutions in bfloat16 (autocast), and so what passes between blocks; weights, statistics and
            logits stay in fp32.
    """

    channels_last: bool = True
    bf16: bool = False

    @property
    def name(self) -> str:
        """As ``model.number_format`` calls it."""
        return "bf16" if self.bf16 else "channels_last" if self.channels_last else "plain"


def cheapest_format(device: torch.device) -> NumberFormat:
    """The format in which a small residual stage trains with the least processor time (on a GPU, the least time).

    Measured once for each machine, processor, torch version and thread count, in about a second, then read
    from ``~/.cache/tbft`` (``XDG_CACHE_HOME``). bfloat16 counts only if it is at least 20 % faster.
    """
    file = _cache_file(device)
    try:
        return NumberFormat(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    with torch.random.fork_rng([]):  # a run draws the same whether or not it measures
        seconds = _seconds([NumberFormat(False, False), NumberFormat(True, False), NumberFormat(True, True)], device)
    plain, last, half = seconds
    best = last if seconds[last] < seconds[plain] else plain
    if seconds[half] < 0.8 * seconds[best]:
        best = half
    log.info("cheapest number format on this machine: %s (measured once, kept in %s)", best, file)
    try:
        from tbft.atomic import write_text

        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(asdict(best)))
    except OSError:
        log.info("%s cannot be written: the format is measured again next time", file)
    return best


def _cache_file(device: torch.device) -> Path:
    try:
        processor = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
        processor = "\n".join(line for line in processor.splitlines() if not line.startswith(("cpu MHz", "bogomips")))
    except OSError:
        processor = platform.processor()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor
    key = f"{platform.node()} {name} {torch.__version__} {torch.get_num_threads()}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tbft"
    return folder / f"format-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _seconds(options: list[NumberFormat], device: torch.device) -> dict[NumberFormat, float]:
    """Cheapest of several training steps of a stage that is typical for 32 px (64 images, 16 channels).

    The options take turns, and on a processor its own time counts, so that other programs do not decide.
    """
    steps = {option: _step(option, device) for option in options}
    seconds = dict.fromkeys(options, float("inf"))
    for _ in range(6):
        for option, step in steps.items():
            began = _clock(device)
            step().backward()
            seconds[option] = min(seconds[option], _clock(device) - began)
    return seconds


def _step(option: NumberFormat, device: torch.device) -> Callable[[], Tensor]:
    layers = [layer for _ in range(3) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())]
    stage: nn.Module = nn.Sequential(*layers).to(device)
    x = torch.randn(64, 16, 32, 32, device=device)
    if option.channels_last:
        stage, x = stage.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=option.bf16):
            return stage(x).square().mean()

    return step


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()
