"""The command line: what is wrong is said in one line, and how a command ended in its exit code."""

from __future__ import annotations

import signal
import sys
from typing import Any

from tbft.errors import BadInput
from tbft.schema import BAD_INPUT, DONE, FAILED, INTERRUPTED, TERMINATED

HELP = """\
usage: python -m tbft COMMAND [--config PRESET_OR_FILE ...] [--SECTION.OPTION VALUE ...]

Low-energy personalization of image classifiers by Target Block Fine-Tuning.

  fit       personalize a base model (or train one: --config base/digits.yaml)
  validate  accuracy on the validation images    (--config RUN_FOLDER/config.yaml)
  test      accuracy on the test images          (likewise)
  predict   classes of the test images, as CSV   (likewise)
  study     a grid of runs                       (--config study/quick.yaml)
  report    tables, figures and a page again     (RUNS_FOLDER)
  meter     power sources of this machine, and what they read

python -m tbft COMMAND --help lists the options of a command. Presets:
"""


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as after Ctrl-C, with an exit code of its own."""


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the command line without the program's name; ``None`` is the process's own.

    Returns:
        0 done, 1 the run failed, 2 bad usage or bad input, 130 interrupted, 143 terminated.
    """
    given = sys.argv[1:] if args is None else args
    old = _on_sigterm(_terminate)
    ended: list[int] = []
    try:
        return _run(given)
    except BadInput as error:
        return _complain(error)
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as error:
        # Lightning turns an interrupt into SystemExit(1); the interrupt is still its context.
        ended.append(error.code if isinstance(error.code, int) else FAILED)
        if isinstance(error.__context__, KeyboardInterrupt):
            return TERMINATED if isinstance(error.__context__, Terminated) else INTERRUPTED
        return ended[0]
    except Exception as error:
        bad_input = _cause(error)
        return _complain(bad_input) if bad_input else _failed(error)
    finally:
        _on_sigterm(old)


def _run(args: list[str]) -> int:
    command = args[0] if args else "--help"
    if command in ("-h", "--help"):
        from tbft.presets import names

        print(HELP + "".join(f"  {name}\n" for name in names()))
        return DONE
    if command == "--version":
        from tbft import __version__

        print(__version__)
        return DONE
    if command == "meter":
        return _meter(args[1:])
    if command == "study":
        from tbft.study.running.command import main_study

        return main_study(args[1:], runner=f"{__name__}:main")
    if command == "report":
        from tbft.study.reporting.command import main_report

        return main_report(args[1:])
    if command not in ("fit", "validate", "test", "predict"):
        raise BadInput(
            f"unknown command {command!r}: choose fit, validate, test, predict, study, report or meter "
            "(python -m tbft --help)"
        )
    from jsonargparse import ArgumentError

    from tbft.lightning_cli import PersonalizationCLI
    from tbft.terminal import telling

    try:
        with telling():
            PersonalizationCLI(args)
    except ArgumentError as error:
        raise BadInput(_one_line(error)) from None
    return DONE


def _meter(args: list[str]) -> int:
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(
        prog="python -m tbft meter",
        description="Power sources of this machine, what they read, and how to get better ones.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to read the sources")
    parser.add_argument("--rail", type=str | None, default=None, help="rail or shunt to trust, as in energy.rail")
    parser.add_argument("--shunt_ohms", type=float | None, default=None, help="as in energy.shunt_ohms")
    try:
        given = parser.parse_args(args)
    except ArgumentError as error:
        raise BadInput(_one_line(error)) from None
    if not 0 <= given.seconds < float("inf"):
        raise BadInput(f"--seconds is {given.seconds:g}: give a length of time")
    from tbft.energy.survey.report import main_meter

    main_meter(given.seconds, rail=given.rail, shunt_ohms=given.shunt_ohms)
    return DONE


def _one_line(error: Exception) -> str:
    """What a parser complains about, without its indentation."""
    return " ".join(str(error).split())


def _complain(error: BadInput) -> int:
    # A worker process wraps its traceback around the message, which comes last.
    message = _one_line(error).rsplit("BadInput: ", 1)[-1]
    print(f"tbft: {message}", file=sys.stderr)
    return BAD_INPUT


def _cause(error: BaseException | None) -> BadInput | None:
    """The bad input that an error was made from: jsonargparse puts one of its own around what a data set refuses."""
    while error is not None and not isinstance(error, BadInput):
        error = error.__cause__
    return error


def _failed(error: Exception) -> int:
    """Say why a run failed; the traceback only if asked for, with ``TBFT_TRACEBACK=1``."""
    import os
    import traceback

    if os.environ.get("TBFT_TRACEBACK"):
        traceback.print_exception(error)
    print(f"tbft: the run failed: {type(error).__name__}: {_one_line(error)}", file=sys.stderr)
    print("tbft: TBFT_TRACEBACK=1 shows where", file=sys.stderr)
    return FAILED


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


def _on_sigterm(handler: Any) -> Any:
    """Install a handler, if this is the main thread, and return the one before."""
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return handler
