"""onnxruntime for small devices: a release that runs there, few threads, little memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.errors import BadInput

RUNS_ON_ARMV8_0 = ((1, 22), (1, 26))
"""Releases of onnxruntime, the first and the last, that run on processors without the atomics of Armv8.1.

A Raspberry Pi 4 has such a processor. Under emulation of it, others end in an illegal instruction or a segmentation
fault.
"""

_MOST_THREADS = 3


def default_threads() -> int:
    """Return the default number of threads: all cores but one, at most three.

    One core is left to the energy meter and the system.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable - 1, _MOST_THREADS))


@cache
def load_onnxruntime() -> Any:
    """Import and return onnxruntime.

    Raises:
        BadInput: if it is not installed, or its release is known to crash on this processor.
    """
    if _lacks_atomics():
        refuse_crashing_release(_installed_release())
    try:
        import onnxruntime
    except ImportError as error:
        missing = "it is not installed" if error.name == "onnxruntime" else str(error)
        raise BadInput(f"onnxruntime cannot be used ({missing}): pip install numpy onnxruntime pillow") from None
    return onnxruntime


def refuse_crashing_release(release: str | None) -> None:
    """Refuse a release that would crash on a processor without Armv8.1's atomics.

    Args:
        release: release of onnxruntime, such as ``1.24.1``; ``None`` if it is not installed.

    Raises:
        BadInput: if the release is outside of ``RUNS_ON_ARMV8_0``.
    """
    if release is None:
        return
    first, last = RUNS_ON_ARMV8_0
    numbers = [part for part in release.split(".")[:2] if part.isdecimal()]
    if len(numbers) == 2 and first <= (int(numbers[0]), int(numbers[1])) <= last:
        return
    low, high = (".".join(map(str, pair)) for pair in (first, last))
    raise BadInput(
        f"onnxruntime {release} crashes on this processor (no Armv8.1 atomics, as on a Raspberry Pi 4): "
        f'pip install "onnxruntime>={low},<{last[0]}.{last[1] + 1}" ({low} to {high} are known to run)'
    )


class Runtime:
    """Opens graphs in onnxruntime.

    Args:
        threads: number of threads that compute; ``None`` is ``default_threads``.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()

    def open(
        self, graph: bytes, weights: Mapping[str, NDArray[Any]], names: Sequence[str], *, repeated: bool = False
    ) -> Session:
        """Open a graph with its weights.

        Args:
            graph: ONNX bytes that ``tbft.export`` wrote.
            weights: weights by name.
            names: names of the weights that the graph reads.
            repeated: whether it is a step that runs many times on batches of one size; its memory is then kept from
                run to run.

        Raises:
            BadInput: if onnxruntime cannot be used.
        """
        library = load_onnxruntime()
        options = library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = repeated  # it keeps what the largest batch took
        if repeated:
            # What trains has its weights as inputs: the later rewritings find nothing in it, and took 10 ms to look.
            options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_BASIC
        else:
            # In the order of the file a tensor is used soon after it is made. onnxruntime's own order took four times
            # the memory and a third more time for the statistics of 256 images (ResNet-26), but less for a step.
            options.execution_order = library.ExecutionOrder.PRIORITY_BASED
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads cost energy
        values = [library.OrtValue.ortvalue_from_numpy(np.asarray(weights[name], order="C")) for name in names]
        if names:
            options.add_external_initializers(list(names), values)
        return Session(library.InferenceSession(graph, options, providers=["CPUExecutionProvider"]), values)


class Session:
    """An opened graph, which is called with arrays by input name."""

    def __init__(self, session: Any, weights: list[Any]) -> None:
        self._session, self._weights = session, weights  # the weights' memory is the arrays' as long as it runs
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the graph and return its outputs by name."""
        return dict(zip(self._outputs, self._session.run(None, inputs), strict=True))


def _lacks_atomics() -> bool:
    """Return whether this is a 64-bit Arm processor of the first generation (Armv8.0)."""
    if platform.machine() not in ("aarch64", "arm64") or platform.system() != "Linux":
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return True
    features = [line.split(":", 1)[1].split() for line in lines if line.startswith("Features")]
    return not features or any("atomics" not in each for each in features)


def _installed_release() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return None
