"""``--config`` of every command: a file, or a configuration that ships with tbft by bare name."""

from typing import Any

from jsonargparse import ActionConfigFile

from tbft.presets import find
from tbft.yaml_file import check_yaml_file


class PresetConfig(ActionConfigFile):
    """Finds the file that a name stands for, then reads it as jsonargparse does."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file.

        Raises:
            BadInput: if there is neither a file nor a preset of that name, or the file cannot be read as YAML.
        """
        path = find(values)
        check_yaml_file(path)
        super().__call__(parser, cfg, str(path), option_string)
