"""Number formats and memory layouts of convolutions, and the cheapest one on a machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class NumberFormat:
    """Number format and memory layout in which a network computes.

    Attributes:
        channels_last: whether images and features have the memory layout N, H, W, C.
        bf16: whether convolutions compute in bfloat16 (autocast), so that features between blocks are bfloat16 too;
            weights, statistics and logits stay in fp32.
    """

    channels_last: bool = True
    bf16: bool = False

    @property
    def name(self) -> str:
        """Name of the format, as the option ``model.number_format`` takes it."""
        return "bf16" if self.bf16 else "channels_last" if self.channels_last else "plain"


FORMATS = {known.name: known for known in (NumberFormat(channels_last=False), NumberFormat(), NumberFormat(bf16=True))}
"""The formats by name."""

_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Instruction sets of oneDNN that have no bfloat16 arithmetic (https://uxlfoundation.github.io/oneDNN, "CPU Dispatcher
Control")."""


def resolve_format(name: str, device: torch.device, network: nn.Module | None = None) -> NumberFormat:
    """Return the format of a name; ``cheapest`` depends on the features of the device and not on a measurement.

    Machines of one type therefore get the same format, whatever else runs on them. ``cheapest`` is

    - bfloat16 where the hardware can multiply it: x86 with AVX512-BF16 or AMX, Arm with BF16, CUDA from compute
      capability 8.0 on;
    - fp32, channels last, on other processors, and on all of them for a network with depthwise convolutions, whose
      training steps bfloat16 makes slower (MobileNetV3-Small at 64 px, with AVX512-BF16: 2.9 ms an image, 1.2 in fp32);
    - fp32 in torch's own layout on other accelerators, whose fast channels-last kernels are those of 16 bits.

    ``ONEDNN_MAX_CPU_ISA`` and ``ATEN_CPU_CAPABILITY``, which limit the instructions of a processor, are respected. The
    features of a processor are read on Linux; elsewhere it is assumed to have no bfloat16.

    Args:
        name: key of ``FORMATS``, or ``cheapest``.
        device: device that computes.
        network: network that is computed, if it is known.
    """
    if name != "cheapest":
        return FORMATS[name]
    if device.type == "cuda":
        return FORMATS["bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "plain"]
    if device.type != "cpu":
        return FORMATS["plain"]
    return FORMATS["bf16" if _processor_multiplies_bf16() and not _is_depthwise(network) else "channels_last"]


def _is_depthwise(network: nn.Module | None) -> bool:
    """Return whether a network has a depthwise convolution."""
    parts = network.modules() if network is not None else ()
    return any(isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1 for part in parts)


def _processor_multiplies_bf16() -> bool:
    if not torch.backends.mkldnn.is_available():  # torch's own convolutions have no fast bfloat16
        return False
    arm = platform.machine() in ("aarch64", "arm64")
    if not arm:
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
        if limit.upper() in _WITHOUT_BF16 or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
            return False
    return bool(_processor_features() & ({"bf16"} if arm else {"avx512_bf16", "amx_bf16"}))


def _processor_features() -> set[str]:
    """Return Linux's names of the processor's features; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    features = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return set(next(features, "").split())
