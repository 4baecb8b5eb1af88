"""The command line: run one command, print an error as one line, and return the exit code."""

from __future__ import annotations

import signal
import sys
from typing import Any

from tbft.command_line.interrupts import Terminated, end_at_once, raise_from_now_on, raise_terminated
from tbft.command_line.output import is_broken_pipe, unfailing_output
from tbft.errors import BadInput
from tbft.schema import BAD_INPUT, DONE, FAILED, INTERRUPTED, TERMINATED
from tbft.startup.garbage import collect_from_now_on

NOBODY_READS = 141  # 128 + SIGPIPE, the exit code of a program that this signal stops
LEAVES_FILES = ("fit", "predict", "card", "study", "report", "export")
LOOKS_ON = ("diagnose", "card")
"""Commands that take a configuration and train nothing."""


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the command line without the program's name; ``None`` takes the process's own.

    Returns:
        0 done, 1 the run failed, 2 bad usage or bad input, 130 interrupted, 143 terminated. If standard output cannot
        be written, a command that writes files still returns 0; one that only prints returns 141 if the reader closed
        the pipe, as a program that SIGPIPE stops does, and 1 otherwise.
    """
    given = sys.argv[1:] if args is None else args
    with unfailing_output() as output:
        code = _coded(given)
        output.flush()
        failure = output.failure
        if code != DONE or failure is None or _leaves_files(given):
            return code
        if is_broken_pipe(failure):
            return NOBODY_READS
        print(f"tbft: standard output cannot be written: {failure.strerror}", file=sys.stderr)
        return FAILED


def _leaves_files(given: list[str]) -> bool:
    """Return whether a command writes files besides what it prints."""
    if not given or any(option.startswith(("-h", "--help", "--print_config")) for option in given):
        return False
    return given[0] in LEAVES_FILES or (given[0] == "diagnose" and any(o.startswith("--plot") for o in given))


def _coded(given: list[str]) -> int:
    """Run one command and return the exit code for the way it ends."""
    old = _on_sigterm(raise_terminated)
    try:
        return _run(given)
    except BadInput as error:
        return _complain(error)
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as error:
        # Lightning turns an interrupt into SystemExit(1) and keeps the interrupt as its context.
        if isinstance(error.__context__, KeyboardInterrupt):
            return TERMINATED if isinstance(error.__context__, Terminated) else INTERRUPTED
        return error.code if isinstance(error.code, int) else FAILED
    except Exception as error:
        bad_input = _cause(error)
        return _complain(bad_input) if bad_input else _failed(error)
    finally:
        _on_sigterm(old)


def _run(args: list[str]) -> int:
    command = args[0] if args else "--help"
    if command in ("-h", "--help"):
        from tbft.command_line.help import of_program

        print(of_program(), end="")
        return DONE
    if command == "--version":
        from tbft.version import __version__

        print(__version__)
        return DONE
    from tbft.command_line.help import BY_CONFIGURATION, COMMANDS

    if command in BY_CONFIGURATION:
        return _by_configuration(command, args[1:])
    if command == "meter":
        return _meter(args[1:])
    if command == "study":
        from tbft.study.running.command import main_study

        _begin_work()
        return main_study(args[1:], runner=f"{__name__}:main")
    if command == "report":
        from tbft.study.reporting.command import main_report

        _begin_work()
        return main_report(args[1:])
    if command == "export":
        from tbft.export.command import main_export

        _begin_work()
        return main_export(args[1:])
    from tbft.spelling import or_choose

    raise BadInput(f"unknown command {command!r}: {or_choose(command, list(COMMANDS))} (python -m tbft --help)")


def _by_configuration(command: str, args: list[str]) -> int:
    """Run a command that takes a configuration; answer misspelt options and ``--help`` before importing Lightning."""
    from tbft.command_line import help
    from tbft.command_line.argument_order import in_order
    from tbft.command_line.suggestions import check_names, explain, with_length_kept

    section = help.asked_for(args)
    if section == "all":
        args = ["--help"]
    elif section is not None:
        print(help.of_section(command, section) if section else help.of_configuration(command), end="")
        return DONE
    else:
        check_names(command, args)
        args = in_order(with_length_kept(args) if command == "fit" else args)
    from jsonargparse import ArgumentError

    from tbft.startup.allocator import keep_freed_memory
    from tbft.startup.postponed_imports import BY_LIGHTNING, postponed_imports

    keep_freed_memory()
    with postponed_imports(BY_LIGHTNING):
        from tbft.command_line.terminal import log_to_terminal

    raise_from_now_on()
    try:
        if command in LOOKS_ON:
            from tbft.command_line.measuring import main_card, main_diagnose

            collect_from_now_on()
            (main_card if command == "card" else main_diagnose)(args)
            return DONE
        from tbft.command_line.lightning_cli import PersonalizationCLI

        collect_from_now_on()
        with log_to_terminal():
            PersonalizationCLI([command, *args])
    except ArgumentError as error:
        raise BadInput(explain(command, str(error))) from None
    return DONE


def _begin_work() -> None:
    """Turn signals into exceptions and collect garbage from now on, once everything is loaded."""
    raise_from_now_on()
    collect_from_now_on()


def _meter(args: list[str]) -> int:
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

    from tbft.command_line.help import POWER_SOURCES

    class KeepsLines(RawDescriptionHelpFormatter, DefaultHelpFormatter):
        """A help formatter that keeps the epilog's line breaks, since the epilog is a table."""

    _begin_work()
    parser = ArgumentParser(
        prog="python -m tbft meter",
        description="Power sources of this machine, what they read, and how to get better ones.",
        epilog=POWER_SOURCES,
        formatter_class=KeepsLines,
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
    """Return an error's message on one line, without the parser's indentation."""
    return " ".join(str(error).split())


def _complain(error: BadInput) -> int:
    # A worker process puts its traceback before the message.
    message = _one_line(error).rsplit("BadInput: ", 1)[-1]
    print(f"tbft: {message}", file=sys.stderr)
    return BAD_INPUT


def _cause(error: BaseException | None) -> BadInput | None:
    """Return the ``BadInput`` behind an error, if any: jsonargparse wraps what a data set raises in its own error."""
    while error is not None and not isinstance(error, BadInput):
        error = error.__cause__
    return error


def _failed(error: Exception) -> int:
    """Print why a run failed, with the traceback only if ``TBFT_TRACEBACK=1`` is set, and return the exit code."""
    import os
    import traceback

    if os.environ.get("TBFT_TRACEBACK"):
        traceback.print_exception(error)
    print(f"tbft: the run failed: {type(error).__name__}: {_one_line(error)}", file=sys.stderr)
    print("tbft: TBFT_TRACEBACK=1 shows where", file=sys.stderr)
    return FAILED


def _on_sigterm(handler: Any) -> Any:
    """Install a SIGTERM handler and return the one before; do nothing while loading or outside the main thread."""
    if signal.getsignal(signal.SIGTERM) is end_at_once:
        return end_at_once
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return handler
