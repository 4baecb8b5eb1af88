"""The option ``--config``: a file, or a configuration that ships with tbft, by name."""

from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile

from tbft.errors import BadInput
from tbft.options.presets import find
from tbft.yaml_file import MOST_BYTES, check_yaml_file

BEGIN_OF_CONFIG, END_OF_CONFIG = (
    "# configuration of a run, whole if its last line says so",
    "# end of the configuration",
)
"""First and last line of a run's ``config.yaml``, by which a file that was cut short is recognised."""


class PresetConfig(ActionConfigFile):
    """An action of the parser that finds a file or preset by name and reads it as jsonargparse does."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file.

        Raises:
            BadInput: if there is neither a file nor a preset of that name, the file gives no options, or it is a run's
                configuration and was cut short.
        """
        path = find(values)
        _check_whole(path)
        if not check_yaml_file(path):
            raise BadInput(f"{path} gives no option: write sections and their options, as in the presets")
        super().__call__(parser, cfg, str(path), option_string)


def _check_whole(file: Path) -> None:
    with file.open("rb") as opened:
        lines = opened.read(MOST_BYTES).decode("utf-8", errors="replace").splitlines() or [""]
    if lines[0] == BEGIN_OF_CONFIG and lines[-1] != END_OF_CONFIG:
        raise BadInput(f"{file} was cut short: give the presets and options that the run was started with")
