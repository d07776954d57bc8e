"""The scale of a low-rank pair that a file's own settings ask for, where they don't stand as `alpha` tensors.

diffusers keeps them as JSON in the file's metadata, PEFT in adapter_config.json beside it. Without any the scale is 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converters.lora_keys import DENOISER, DENOISERS, Target
from converters.tensor_file import TensorFile
from edge_runtime.errors import ConversionError

METADATA_KEY: Final = "lora_adapter_metadata"
CONFIG_FILE: Final = "adapter_config.json"


class AdapterSettings:
    """Scales by module."""

    def __init__(self, settings: Mapping[str, Any], origin: str) -> None:
        """Take the members as PEFT writes them, those of several components with a prefix such as `transformer.`."""
        self._settings, self._origin = settings, origin

    def scale(self, target: Target, rank: int) -> float:
        """Return lora_alpha / rank, or over its square root if the file asks for that; 1 without settings."""
        settings = self._of(target.component)
        if settings.get("use_dora"):
            raise ConversionError("DoRA is not read", got=self._origin, allowed="plain LoRA")
        alpha = settings.get("lora_alpha")
        patterns = settings.get("alpha_pattern") or {}
        if not isinstance(patterns, dict):
            raise self._unusable("alpha_pattern", patterns)
        for pattern, value in patterns.items():
            name = pattern.removeprefix("^")
            if target.module == name or target.module.endswith(f".{name}"):
                alpha = value
                break
        if alpha is None:
            return 1.0
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
            raise self._unusable("lora_alpha", alpha)
        return float(alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank))

    def _of(self, component: str) -> Mapping[str, Any]:
        for name in DENOISERS if component == DENOISER else (component,):
            prefix = f"{name}."
            if found := {key.removeprefix(prefix): v for key, v in self._settings.items() if key.startswith(prefix)}:
                return found
        return self._settings

    def _unusable(self, member: str, value: object) -> ConversionError:
        return ConversionError(f"the {member} in {self._origin} can't be used", got=value, allowed="finite numbers")


def adapter_settings(file: TensorFile) -> AdapterSettings:
    """Read a file's settings, from its metadata or else from beside it; raises ConversionError for damaged ones."""
    beside = file.path.with_name(CONFIG_FILE)
    if METADATA_KEY in file.metadata:
        return _parsed(file.metadata[METADATA_KEY], f"the metadata of {file.path.name}")
    if beside.is_file() and any(".lora_A." in name for name in file.tensors):
        return _parsed(_text(beside), f"the {CONFIG_FILE} beside {file.path.name}")
    return AdapterSettings({}, file.path.name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"the file {path.name} can't be read", got=error) from error


def _parsed(text: str, origin: str) -> AdapterSettings:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{origin} is no JSON", got=error) from error
    if not isinstance(settings, dict):
        raise ConversionError(f"{origin} is no JSON object", got=type(settings).__name__)
    return AdapterSettings(settings, origin)
