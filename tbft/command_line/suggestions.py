"""Check the names and values of options before heavy imports, and suggest what a misspelt one was meant to be."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from tbft.command_line.argument_order import check_required, data_set_of, split_options
from tbft.errors import BadInput
from tbft.options import catalogue
from tbft.options.effects import check_all_have_effect, keeps_epochs, layers_of
from tbft.options.presets import find
from tbft.spelling import closest, or_choose

UNKNOWN = (
    re.compile(r"[Uu]nrecognized arguments: --([\w.]+)"),
    re.compile(r'Parser key "([\w.]+)": .*?Option \'(\w+)\' is not accepted'),
    re.compile(r"does not accept option '([\w.]+)'"),
)
_TRIED = ("Does not validate against any of the Union subtypes", "either not accessible or invalid")
CLASS_ARGUMENTS = ".init_args."  # may be left out of a name
_NONE = ("null", "None", "~", "")
_WHOLE = re.compile(r"[-+]?\d[\d_]*")
_NUMBER = re.compile(r"[-+]?(?:(?:\d[\d_]*(?:\.[\d_]*)?|\.\d+)(?:e[-+]?\d+)?|\.?(?:inf|nan))", re.IGNORECASE)


def check_names(subcommand: str, arguments: Sequence[str]) -> None:
    """Check for misspelt options, presets, data sets and choices, and for options that would have no effect.

    The classes that take the options are not imported. What the source of tbft's own classes does not tell (the options
    of other data sets, the arguments of an optimiser or a callback) is left to the parser.

    Args:
        subcommand: command that takes a configuration.
        arguments: arguments of the command.

    Raises:
        BadInput: if something is wrong; the message names it and what was probably meant.
    """
    given, files = _given(arguments)
    data_set = _data_set(given, files)
    for name, value in given:
        section, _, rest = name.partition(".")
        if section == "data":
            if not rest and value is not None:
                _check_data_set(value)
            if data_set not in ("", *catalogue.data_sets()):
                continue
        _check_name(subcommand, name, data_set)
        if value is not None:
            _check_value(name, value, data_set)
    check_required(given, files, data_set)
    check_all_have_effect(layers_of(given, files))


def with_length_kept(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of ``fit``, extended so that alignment replaces no epoch if the user chose the length."""
    return [*arguments, *(["--freeze.align", "with_card"] if keeps_epochs(layers_of(*_given(arguments))) else [])]


def check_effects(arguments: Sequence[str]) -> None:
    """Check for options that would have no effect beside others, for a caller that checks names itself.

    Raises:
        BadInput: if there is one; the message names it and the other option.
    """
    check_all_have_effect(layers_of(*_given(arguments)))


def explain(subcommand: str, said: str) -> str:
    """Return a parser's message on one line, with a suggestion if an option is unknown.

    Args:
        subcommand: command whose arguments were parsed.
        said: message of the parser.
    """
    said = " ".join(said.split())
    if re.search(r"required: (?:\w+\.)?data\b", said):
        return f"{subcommand} does not say of what data: give --config auto.yaml or another preset or file, or --data"
    option = unknown_option(said)
    if option is None:
        return _shorten(said)
    meant = closest(_plain(option), catalogue.names_of(subcommand))
    advice = f"did you mean {meant}?" if meant and meant != _plain(option) else "leave it out"
    return f"{subcommand} does not know {option}, which a configuration file has: {advice}"


def _shorten(said: str) -> str:
    """Shorten a parser's message about a value, without the list of types that it tried."""
    keys = re.findall(r'Parser key "([\w.]+)"', said)
    if not keys or not any(words in said for words in _TRIED):
        return said
    name = ".".join(dict.fromkeys([keys[0], keys[-1]]))  # the option of a class, and the class's argument
    class_path = re.search(r"Problem with given class_path '([^']+)': (.*?)(?= - |Given value type|$)", said)
    if class_path and len(keys) == 1:
        return f"{name} is {class_path[1]}, which cannot be made ({class_path[2].strip().rstrip('.')}): correct it"
    value = re.search(r"Given value: (.*?)(?= - |$)|Expected a path but (.*?) either", said)
    shown = textwrap.shorten(value[1] or value[2], 80, placeholder=" ...") if value else "that value"
    return f"{name} does not take {shown}: see --help {name.partition('.')[0]}"


def unknown_option(said: str) -> str | None:
    """Return the name of the unknown option in a parser's message; ``None`` if the message is about something else."""
    found = next(filter(None, (words.search(said) for words in UNKNOWN)), None)
    return ".".join(found.groups()) if found else None


def advise(option: str, arguments: Sequence[str], known: Callable[[list[str]], list[str]]) -> str:
    """Say which option of ``fit`` may have been meant by an unknown one.

    Args:
        option: name of the unknown option.
        arguments: arguments of ``fit``, names and values in turn.
        known: function from arguments of ``fit`` to the names of all its options.
    """
    names, values = arguments[::2], arguments[1::2]
    rest = [(name, value) for name, value in zip(names, values, strict=True) if _plain(name) != f"--{_plain(option)}"]
    if len(rest) == len(names):  # the option is in a preset or file
        return "mend the file that has it"
    meant = closest(_plain(option), map(_plain, known([part for pair in rest for part in pair])))
    return f"did you mean {meant}?" if meant else "leave it out, or see python -m tbft fit --help"


def _given(arguments: Sequence[str]) -> tuple[list[tuple[str, str | None]], list[Path]]:
    """Return the names and values of the options, and the paths of the configuration files among them."""
    taken = split_options(arguments)
    given = [(_plain(name.removesuffix("+")), value) for _, name, value in taken if name is not None]
    return given, [find(value) for name, value in given if name == "config" and value is not None]


def _data_set(given: list[tuple[str, str | None]], files: list[Path]) -> str:
    """Return the class of the data set that files and options name last; empty if none is named."""
    in_files = [found for file in files if (found := data_set_of(file))]
    named = [value for name, value in given if name in ("data", "data.class_path") and value]
    return ["", *in_files, *named][-1].removeprefix("tbft.data.")


def _check_data_set(value: str) -> None:
    known = catalogue.data_sets()
    if value.removeprefix("tbft.data.") in known or "." in value or "{" in value or Path(value).is_file():
        return
    raise BadInput(f"no data set {value!r}: {or_choose(value, known)}")


def _check_name(subcommand: str, name: str, data_set: str) -> None:
    section, _, rest = name.partition(".")
    named = (*catalogue.SECTIONS, "data.help", "data.class_path", "data.init_args")
    if name in named or catalogue.is_option(subcommand, name):
        belongs = section != "data" or not rest or not data_set or _is_of(name, data_set)
        if belongs:
            return
        raise BadInput(f"data set {data_set} has no option --{name}: leave it out, or choose another data set")
    if name in catalogue.FOLLOWS:
        raise BadInput(f"--{name} is no option, for it follows --{catalogue.FOLLOWS[name]}: give that")
    if rest.count(".") and catalogue.is_option(subcommand, name.rsplit(".", rest.count("."))[0]):
        return  # an argument of an optimiser or a callback
    if section in catalogue.SECTIONS and section != "data" and not catalogue.section_options(section):
        return
    meant = closest(name, catalogue.names_of(subcommand))
    advice = f"did you mean --{meant}?" if meant else f"python -m tbft {subcommand} --help all lists what there is"
    raise BadInput(f"{subcommand} does not know --{name}: {advice}")


def _is_of(name: str, data_set: str) -> bool:
    return name.count(".") == 1 and (
        name in ("data.help", "data.class_path", "data.init_args")
        or any(option.name == name for option in catalogue.data_options(data_set))
    )


def _check_value(name: str, value: str, data_set: str) -> None:
    section = name.partition(".")[0]
    if section not in catalogue.SECTIONS:
        return
    of_section = (
        catalogue.data_options(data_set) if section == "data" and data_set else catalogue.section_options(section)
    )
    option = next((option for option in of_section if option.name == name), None)
    choices = option.choices if option else ()
    if name == "data.corruption":
        choices = (*catalogue.constant("CORRUPTIONS"), *_NONE)
    if choices and value.strip("'\"") not in choices:
        shown = [choice for choice in choices if choice not in _NONE]
        raise BadInput(f"--{name} has no value {value!r}: {or_choose(value, shown)}")
    if option and option.annotation is not None:
        _check_number(name, value, set(re.findall(r"\w+", ast.unparse(option.annotation))))


def _check_number(name: str, value: str, kinds: set[str]) -> None:
    """Raise ``BadInput`` if an option takes only numbers and the value is none.

    Args:
        name: name of the option.
        value: value as text.
        kinds: words of the option's annotation, such as ``int`` and ``None``.
    """
    if not kinds & {"int", "float"} or kinds - {"int", "float", "None", "Optional", "Union"}:
        return
    empty = bool(kinds & {"None", "Optional"})
    if (empty and value in _NONE) or (_NUMBER if "float" in kinds else _WHOLE).fullmatch(value.strip("'\"")):
        return
    wanted = ("a number" if "float" in kinds else "a whole number") + (", or null for none" if empty else "")
    raise BadInput(f"--{name} has no value {value!r}: give {wanted}")


def _plain(name: str) -> str:
    return name.replace(CLASS_ARGUMENTS, ".")
