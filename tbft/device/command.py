"""The command line of a bundle: ``python pet.pyz info | predict | diagnose | adapt | revert | apply``."""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbft.errors import BadInput
from tbft.schema import BAD_INPUT, DONE, FAILED, INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from tbft.predictions import Predictions

_OWN_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_TRAINED = {"input": "front block by steps", "feature": "last stage", "full": "whole network"}


class _Terminated(KeyboardInterrupt):
    """Raised in the process on SIGTERM."""


def main(args: list[str] | None = None, bundle: Path | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        args: the command line after the program's name; ``None`` takes the process's own.
        bundle: path of the bundle; ``None`` is the file that is being run.
    """
    options = _parser((bundle or Path(sys.argv[0])).name).parse_args(args)
    for name in _OWN_THREADS:  # numpy's own threads cost memory, and wait by spinning
        os.environ.setdefault(name, "1")
    before = signal.signal(signal.SIGTERM, _end) if args is None else None
    try:
        return _run(options, bundle or Path(sys.argv[0]))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except _Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except MemoryError:
        print("error: there is not enough memory: give fewer pictures, or a lower --memory-mib", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        return DONE
    except Exception as error:
        if damage := _damage_of(bundle or Path(sys.argv[0])):
            print(f"error: {damage}", file=sys.stderr)
            return BAD_INPUT
        print(f"error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _run(options: Namespace, path: Path) -> int:
    if getattr(options, "plot", None):
        raise BadInput(
            "a bundle draws no picture, which takes matplotlib: use --json here, or python -m tbft diagnose --plot "
            f"{options.plot} where all of tbft is installed"
        )
    try:
        from tbft.device.device import load
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("numpy", "PIL"):
            raise
        raise BadInput(f"{error.name} is not installed: pip install numpy onnxruntime pillow") from None
    device = load(path, threads=options.threads, memory_mib=options.memory_mib)
    if options.command == "info":
        _show_info(device.info())
    elif options.command == "predict":
        _write_predictions(options.csv, device.predict(options.folder))
    elif options.command == "diagnose":
        found = device.diagnose(options.folder, labelled=not options.unlabelled)
        print(json.dumps(found.as_dict()) if options.json else found.table())
    elif options.command == "adapt":
        if options.delta and not options.delta.absolute().parent.is_dir():
            raise BadInput(f"there is no folder {options.delta.parent} for the delta: make it, or give another --delta")
        record = device.personalize(
            options.folder,
            level=options.level,
            labelled=not options.unlabelled,
            budget_seconds=options.budget_seconds,
            seed=options.seed,
        )
        if options.delta:
            _copy_delta(device, options.delta)
        print(_summary(record, labelled=not options.unlabelled))
    elif options.command == "revert":
        device.revert(options.to)
        print(f"back to {options.to or 'the base model'}")
    else:
        device.apply(options.delta)
        print(f"{options.delta} counts from now on; revert goes back")
    return DONE


def _parser(program: str) -> ArgumentParser:
    common = ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, help="that compute (default: all cores but one, at most 3)")
    common.add_argument(
        "--memory-mib",
        type=float,
        help="peak memory of this process, about 85 MiB of which the libraries take (default: no limit)",
    )
    sample = ArgumentParser(add_help=False)
    sample.add_argument(
        "folder",
        help="holds a folder of pictures for each class (adapt wants all classes, diagnose some); pictures that cannot "
        "be read are named and left out",
    )
    sample.add_argument("--unlabelled", action="store_true", help="the folder's pictures have no labels")
    parser = ArgumentParser(prog=program, description="An image classifier that adapts to this device.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *parents: ArgumentParser) -> ArgumentParser:
        return commands.add_parser(name, parents=[*parents, common], help=text, description=text, allow_abbrev=False)

    add("info", "show what is in the bundle and what was adapted")
    predict = add("predict", "classify the pictures in a folder")
    predict.add_argument("folder", help="of pictures; those that cannot be read are named and left out")
    predict.add_argument("--csv", type=Path, help="write to this file instead of the terminal")
    diagnose = add("diagnose", "tell what drifted; nothing is changed", sample)
    diagnose.add_argument("--json", action="store_true", help="print JSON instead of a table")
    diagnose.add_argument("--plot", metavar="FILE", help="refused: a picture takes python -m tbft diagnose --plot")
    adapt = add("adapt", "adapt the model to pictures, and keep what is no worse", sample)
    adapt.add_argument(
        "--level",
        choices=("auto", "input", "feature", "output"),
        default="auto",
        help="of the drift (default: auto, which finds it)",
    )
    adapt.add_argument("--budget-seconds", type=float, default=60.0, help="after which training stops (default: 60)")
    adapt.add_argument("--seed", type=int, default=0, help="draws validation pictures and the order of training")
    adapt.add_argument("--delta", type=Path, help="copy what was changed to this file, for devices with the same base")
    revert = add("revert", "go back to the base model, or to an earlier adaptation")
    revert.add_argument("--to", help="name of an adaptation, as info shows it")
    apply = add("apply", "take over an adaptation from another device with the same base")
    apply.add_argument("delta", type=Path, help="file that adapt --delta wrote")
    return parser


def _show_info(info: dict[str, Any]) -> None:
    from tbft.device.calibration import Comparison

    classes = info["classes"]
    shown = ", ".join(classes[:8]) + (f", ... ({len(classes)})" if len(classes) > 8 else "")
    print(f"classes     {shown}")
    print(f"images      {info['image_size']} x {info['image_size']} pixels")
    print(f"parameters  {info['parameters']:,}")
    print(f"base        {info['base']}")
    print("levels      " + ", ".join(f"{level}: {block}" for level, block in info["levels"].items()))
    if info["int8"] is not None or info["predicts"] == "int8":
        compared = "" if info["int8"] is None else f" (int8: {Comparison.of_record(info['int8'])})"
        print(f"predicts    in {info['predicts']}{compared}")
    for part, reason in info["left_out"].items():
        print(f"left out    {part}: {reason}")
    print("made with   " + ", ".join(f"{name} {version}" for name, version in info["made_with"].items()))
    for entry in info["history"]:
        validation = (entry["accuracy"] or {}).get("validation")
        accuracy = "" if validation is None else f", {100 * validation:.1f} % on validation"
        counts = "  <- counts" if entry["current"] else ""
        print(f"adapted     {entry['name']} {entry['finished'] or ''} {entry['strategy'] or ''}{accuracy}{counts}")


def _write_predictions(path: Path | None, predictions: Predictions) -> None:
    from tbft.device.state import translate_write_errors

    if path is None:
        sys.stdout.write(predictions.table())
        return
    with translate_write_errors(path, "an older file is whole"):
        predictions.to_csv(path)
    print(f"{len(predictions)} predictions in {path}")


def _copy_delta(device: Any, path: Path) -> None:
    from tbft.atomic import write_bytes
    from tbft.device.state import translate_write_errors

    content = device.delta()
    if content is None:
        print(f"the base model stays: {path} is not written")
        return
    with translate_write_errors(path, "the adaptation counts all the same"):
        write_bytes(path, content)


def _summary(record: dict[str, Any], *, labelled: bool) -> str:
    accuracy, measured = record["accuracy"], record["energy_source"]["measured"]
    why = record["strategy"] if record["kept"] == "adapted" else record["kept_reason"]
    lines = [f"kept        {record['kept']} ({why})"]
    if accuracy["validation"] is not None:
        before, after = (100 * accuracy[name] for name in ("base_validation", "validation"))
        lines.append(f"validation  {before:.1f} % -> {after:.1f} %")
    if not labelled:
        lines.append("unseen      unlabelled pictures do not show whether the labels changed their meaning")
    how = "measured" if measured else "modelled, not measured"
    if int8 := record.get("int8"):
        from tbft.device.calibration import Comparison

        lines.append(f"predicts    in {'int8' if int8['kept'] else 'float'} (int8: {Comparison.of_record(int8)})")
    joules, seconds = record["joules"]["adaptation"], record["wall_seconds"]["adaptation"]
    lines.append(
        f"adaptation  {joules:.1f} J ({how}), {record['cpu_seconds']['adaptation']:.2f} CPU-s, {seconds:.1f} s; "
        f"whole process {record['process_cpu_seconds']:.2f} CPU-s, {record['peak_rss_mib']:.0f} MiB"
    )
    if record.get("not_aligned"):
        lines.append(f"left out    aligning the front block: {record['not_aligned']}")
    for part, reason in record.get("not_trained", {}).items():
        lines.append(f"left out    training the {_TRAINED.get(part, part)}: {reason}")
    for block, reason in record.get("not_kept", {}).items():
        lines.append(f"left out    {block} as it was trained: {reason}")
    if record["stopped_by"]:
        lines.append("stopped     the budget was used up")
    return "\n".join(lines)


def _damage_of(path: Path) -> BadInput | None:
    """Return the error of a damaged bundle, whose own code may be what failed; ``None`` if it is whole."""
    from tbft.device.bundle import Bundle

    try:
        Bundle(path).check()
    except BadInput as error:
        return error
    return None


def _end(number: int, frame: object) -> None:
    raise _Terminated
