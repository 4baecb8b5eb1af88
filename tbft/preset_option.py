"""``--config`` of every command: a file, or a configuration that ships with tbft by bare name."""

from typing import Any

from jsonargparse import ActionConfigFile

from tbft.errors import BadInput
from tbft.presets import find
from tbft.yaml_file import check_yaml_file


class PresetConfig(ActionConfigFile):
    """Finds the file that a name stands for, then reads it as jsonargparse does."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file.

        Raises:
            BadInput: if there is neither a file nor a preset of that name, or the file gives no options.
        """
        path = find(values)
        if not check_yaml_file(path):
            raise BadInput(f"{path} gives no option: write sections and their options, as in the presets")
        super().__call__(parser, cfg, str(path), option_string)
