"""The command ``python -m tbft export RUN_OR_BASE --to pet.pyz``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tbft.errors import BadInput
from tbft.paths import is_file, user_path

_MODEL = "model.safetensors"


class _Parser(ArgumentParser):
    """A parser that raises ``BadInput`` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise the parser's error.

        Raises:
            BadInput: always, with the message.
        """
        raise BadInput(f"{message} (python -m tbft export --help)")


def main_export(args: list[str]) -> int:
    """Write a bundle, and print its size and how to use it.

    Args:
        args: the command line after ``export``.

    Returns:
        The exit code 0.

    Raises:
        BadInput: if the model cannot be read or exported.
    """
    parser = _Parser(
        prog="python -m tbft export",
        description="One file that classifies, diagnoses and adapts on a device without torch.",
        allow_abbrev=False,
    )
    parser.add_argument("model", help="a run's folder, a weights file, or a shipped base model by name")
    parser.add_argument("--to", type=Path, default=Path("pet.pyz"), help="file to write (default: pet.pyz)")
    parser.add_argument(
        "--source", help="source pictures, best ones not trained on, in class folders: to align with and diagnose by"
    )
    parser.add_argument("--classes", nargs="+", help="class names in label order, of a model whose file has none")
    parser.add_argument(
        "--int8", action="store_true", help="predict in 8-bit whole numbers, calibrated on the source pictures"
    )
    options = parser.parse_args(args)
    path = export_model(
        options.model, options.to, source=options.source, classes=options.classes or (), int8=options.int8
    )
    if options.int8:
        print(_int8_line(path))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; on the device: pip install numpy onnxruntime pillow, then")
    print(f"  python {path.name} info | predict FOLDER | diagnose FOLDER | adapt FOLDER | revert | apply DELTA")
    return 0


def _int8_line(path: Path) -> str:
    from tbft.device.bundle import Bundle
    from tbft.device.calibration import Comparison

    about = Bundle(path).int8
    assert about is not None
    compared = Comparison.of_record(about["compared"])
    return f"int8: {compared}, at {100 * about['cpu_share']:.0f} % of the processor time on this machine"


def export_model(
    model: str, to: Path, *, source: str | None = None, classes: Sequence[str] = (), int8: bool = False
) -> Path:
    """Write a bundle of a run, a weights file, or a shipped base model.

    Args:
        model: a run's folder, a weights file, or a shipped base model by name.
        to: file to write, whose name ends in ``.pyz``.
        source: folder of source pictures (500 are used), to whose moments the front block is aligned; if they are in
            class folders, a source card is measured too. Without it the card in the model's file is used, if any.
        classes: class names in label order; by default those in the model's file.
        int8: whether to predict in 8-bit whole numbers, calibrated on the source pictures.

    Returns:
        ``to``.

    Raises:
        BadInput: if the model or the source pictures cannot be read, the model cannot be exported, or ``to`` cannot be
            written.
    """
    check_installed()
    from tbft.export.bundle import export_bundle
    from tbft.export.source_card import read_source
    from tbft.models import build, load_weights, read_weights

    if to.suffix != ".pyz":
        raise BadInput(f"{to} does not end in .pyz: Python runs such a file, and the device's state lies beside it")
    left = user_path(model) / _MODEL
    base = read_weights(str(left) if is_file(left) else model)
    network = dict(base.network)
    size = base.image_size or network.get("image_size") or (None if ":" in str(network["architecture"]) else 224)
    chain = build(
        str(network["architecture"]),
        num_classes=int(network["num_classes"]),
        image_size=size,
        width=int(network.get("width", 16)),
        spec=network.get("spec"),
    )
    load_weights(chain, base)
    names = tuple(classes) or base.classes
    pictures, labels = read_source(user_path(source), chain.image_size, names) if source else (None, None)
    try:
        return export_bundle(
            chain,
            to,
            classes=names,
            mean=base.mean or None,
            std=base.std or None,
            source=pictures,
            source_labels=labels,
            card=base.card,
            int8=int8,
            about={"architecture": network["architecture"]},
        )
    except OSError as error:
        raise BadInput(f"{to} cannot be written ({error.strerror}): give another --to") from None


def check_installed() -> None:
    """Check that the packages that an export needs are installed.

    Raises:
        BadInput: if some are missing; the message names them and says how to install them.
    """
    import importlib.util

    missing: list[Any] = [name for name in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        raise BadInput(f"export needs {', '.join(missing)}: pip install 'tbft[export]'")
