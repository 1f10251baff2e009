"""Settings in YAML: text to values, files to mappings."""

from pathlib import Path
from typing import Any

import yaml

from textvae.errors import ConfigError

__all__ = ["parse", "read_mapping", "short"]


class _Strict(yaml.SafeLoader):
    """YAML without duplicate keys: by default the later would silently replace the earlier."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"duplicate key {key.value!r} on line {key.start_mark.line + 1}")
            seen.add(str(key.value))
        return node


def parse(text: str) -> Any:
    """The value of YAML text; raises YAMLError, ValueError or RecursionError."""
    return yaml.load(text, _Strict)


def read_mapping(path: Path, of: str = "sections such as model and training") -> dict[str, Any]:
    """The nested mapping in a YAML file; empty for an empty file.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, repeats a key or is not a mapping.
    """
    try:
        loaded = parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: must be a mapping of {of}, not {short(loaded)}")
    return loaded


def short(value: object) -> str:
    """A value as it is written in YAML or Python, at most 60 characters of it."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
