"""The output of ``--help``, in 80 columns, made without importing torch or Lightning."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tbft.errors import BadInput
from tbft.options import catalogue, presets

WIDTH = 80
COMMANDS = {
    "fit": "personalize a base model (or train one: --config base/digits.yaml)",
    "validate": "accuracy on the validation images  (--config RUN_FOLDER/config.yaml)",
    "test": "accuracy on the test images        (--config RUN_FOLDER/config.yaml)",
    "predict": "classes of test or new images (--images FOLDER), as CSV",
    "diagnose": "what drifted, how sure, what to do; changes nothing",
    "card": "measure a base model's source card  (--to FILE.safetensors)",
    "study": "a grid of runs                     (--config study/quick.yaml)",
    "report": "tables, figures and a page again   (RUNS_FOLDER)",
    "export": "one file for a device without torch (RUN_OR_BASE --to pet.pyz)",
    "meter": "power sources of this machine, and what they read",
}
BY_CONFIGURATION = ("fit", "validate", "test", "predict", "diagnose", "card")
"""The commands that take a configuration."""

FIRST = {
    "model.base": "base model: a file, or one that ships, by name",
    "data": "data set, see below",
    "data.root": "folder of its pictures",
    "data.train_size": "labelled images that the device has",
    "freeze.level": "what drifted: input, feature or output",
    "ladder.climb": "let the sample say what drifted (auto.yaml)",
    "freeze.blocks": "blocks to tune instead of the level's own",
    "freeze.statistics": "BatchNorm's: source, refresh or batch",
    "run.root": "folder of all runs",
    "run.name": "name of this run; null makes one",
    "run.wandb": "Weights & Biases: auto, offline, online or off",
    "run.threads": "threads to compute with; null: all cores",
    "energy.budget_joules": "training stops when so much is used",
    "energy.budget_seconds": "training stops after so many seconds",
    "trainer.max_epochs": "epochs to train at most",
    "seed_everything": "seed of everything random",
}
"""The most important options, each with a short description."""

OWN = {
    "diagnose": {
        "images": "folder of new, unlabelled pictures",
        "json": "print JSON instead of a table",
        "plot": "draw it too, into FILE.png or FILE.svg",
        "unlabelled": "as if the pictures had no labels",
    },
    "card": {"to": "safetensors file to write, the base model with its card"},
}
"""Options of one command only, each with a short description."""

POWER_SOURCES = """\
Power sources, the most trusted first, and what they cover:

  hwmon:<chip>     current sensor in the supply line (INA219, INA226, INA3221,
                   a Jetson's rails): the board
  pmic             a Raspberry Pi 5's power management chip: the board without
                   its 5 V loads (USB, HAT, NVMe)
  rapl, nvml       counters of processor and graphics card: processor, memory,
                   GPU
  model:cpu_load,  watts from the processor's load and from the size of the
  model:ram_size   memory: not measured

A board's sensor counts alone; otherwise each part counts once, from its best
source. A source that vanishes, hangs or reads nonsense hands over to the next
one, and energy_source.spans in result.json says from which second on. fit
trusts others by --energy.sources pmic (or [pmic,rapl], or model).
"""
"""The last part of ``python -m tbft meter --help``."""

_DEFAULTS = {"data": "", "seed_everything": "0", "data.root": ""}
_SHOWN = {"None": "null", "True": "true", "False": "false", "field(default_factory=list)": "[]"}
_LAID_OVER = ("", "data")  # folders of the presets that `fit --help` lists: levels, devices and data sets


def of_program() -> str:
    """Return the output of ``python -m tbft --help``."""
    commands = "".join(f"  {name:<10}{text}\n" for name, text in COMMANDS.items())
    return (
        "usage: python -m tbft COMMAND [--config PRESET_OR_FILE ...]\n"
        "                              [--SECTION.OPTION VALUE ...]\n\n"
        "Low-energy personalization of image classifiers by Target Block Fine-Tuning.\n\n"
        f"{commands}\n"
        "python -m tbft COMMAND --help lists the options of a command.\n\n"
        "Presets, found by name from any folder; later --config files win:\n\n" + _presets(presets.names())
    )


def of_configuration(command: str) -> str:
    """Return the output of ``python -m tbft fit --help`` or of another command in ``BY_CONFIGURATION``."""
    listed = [name for name in presets.names() if name.rpartition("/")[0] in _LAID_OVER]
    return (
        f"usage: python -m tbft {command} [--config PRESET_OR_FILE ...]\n"
        f"{' ' * (22 + len(command))}[--SECTION.OPTION VALUE ...]\n\n"
        f"{_capitalised(COMMANDS[command].partition('  ')[0])}.\n\n"
        "The options that matter first (default in brackets, before any preset):\n\n"
        + "".join(_line(f"--{name}", text) for name, text in OWN.get(command, {}).items())
        + "".join(_line(f"--{name}", f"{text} {_bracketed(_default(name))}".strip()) for name, text in FIRST.items())
        + "\nMore, with what each does:\n\n"
        + _line("--help SECTION", _folded(", ".join(catalogue.SECTIONS)))
        + _line("--help all", "every option at once, from the parser itself")
        + _line("--data.help Folder", f"one of {', '.join(catalogue.data_sets())}")
        + _line("--print_config", "print the whole configuration and stop")
        + "\nPresets (python -m tbft --help lists all of them):\n\n"
        + _presets(listed)
    )


def of_section(command: str, section: str) -> str:
    """Return the output of ``python -m tbft fit --help SECTION`` or of another command.

    Raises:
        BadInput: if there is no such section.
    """
    from tbft.spelling import or_choose

    if section not in catalogue.SECTIONS:
        raise BadInput(
            f"no section {section!r} of {command}'s options: {or_choose(section, [*catalogue.SECTIONS, 'all'])}"
        )
    lines = "".join(_entry(option) for option in catalogue.section_options(section))
    if section == "data":
        for data_set in catalogue.data_sets():
            shared = catalogue.section_options("data")
            own = [option for option in catalogue.data_options(data_set) if option not in shared]
            lines += f"\nWith --data {data_set} also:\n\n" + "".join(_entry(option) for option in own)
    return f"Options of {command} in section {section} (default in brackets, before any preset):\n\n{lines}"


def asked_for(arguments: Sequence[str]) -> str | None:
    """Return the section whose help a command line asks for, ``""`` for the short help, or ``None`` for no help."""
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("-h", "--help", "--help-all"):
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            return "all" if name == "--help-all" else value or ("" if following.startswith("-") else following)
    return None


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _line(name: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"  {name:<24}", subsequent_indent=" " * 26) + "\n"


def _folded(text: str) -> str:
    """Wrap text to the column beside an option's name."""
    return textwrap.fill(text, WIDTH - 26).replace("\n", "\n" + " " * 26)


def _entry(option: catalogue.Option) -> str:
    bracketed = _bracketed(_SHOWN.get(option.default, option.default) if option.default else option.default)
    return (
        textwrap.fill(
            f"{option.text} {bracketed}".strip(),
            WIDTH,
            initial_indent=f"  --{option.name}  ",
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
        )
        + "\n"
    )


def _default(name: str) -> str | None:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    section = name.partition(".")[0]
    default = next(option.default for option in catalogue.section_options(section) if option.name == name)
    return None if default is None else _SHOWN.get(default, default)


def _bracketed(default: str | None) -> str:
    if default is None:
        return "[must be given]"
    return f"[{default}]" if default else ""


def _presets(names: Sequence[str]) -> str:
    width = max(map(len, names)) + 2
    return "".join(f"  {name:<{width}}{presets.summary(name, WIDTH - 2 - width)}\n" for name in names)
