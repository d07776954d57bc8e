"""A checkpoint in diffusers layout: a folder with model_index.json, and one folder for each component."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from converters.hub import PREFIX, fetch
from converters.shards import Shards, open_shards
from edge_runtime.errors import ConversionError

INDEX: Final = "model_index.json"
CONFIGS: Final = (
    "config.json", "scheduler_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer_config.json", "generation_config.json",
)  # fmt: skip
"""Where a component's configuration stands: the first one that is there."""

UNKNOWN_LICENCE: Final = "unknown: see the checkpoint's own page"

_PLAIN: Final = re.compile(r"\w[\w.-]*")
_LICENCE: Final = re.compile(r"^(license|license_name):[ \t]*(.+?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFolder:
    """An opened folder. `source` names it in the artifact's provenance: its name, or hf:owner/name@commit.

    `classes` has the components that the pipeline has, with the names of their classes; `settings` are the other
    members of model_index.json, such as `is_distilled`.
    """

    path: Path
    source: str
    pipeline: str
    classes: Mapping[str, str]
    settings: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, checkpoint: str) -> PipelineFolder:
        """Open a folder, or fetch `hf:owner/name[@revision]` first; raises ConversionError."""
        if checkpoint.startswith(PREFIX):
            path, source = fetch(checkpoint)
        else:
            path = Path(checkpoint)
            source = path.resolve().name
        if not path.is_dir():
            raise ConversionError(
                "the checkpoint is not a folder",
                got=checkpoint,
                allowed=f"a folder in diffusers layout, or {PREFIX}OWNER/NAME",
            )
        if not (path / INDEX).is_file():
            raise ConversionError(
                f"the folder {source} has no {INDEX}",
                got=_listed(path),
                hint="it must be in diffusers layout; a single file is not",
            )
        index = _read_json(path / INDEX)
        pipeline = index.get("_class_name")
        if not isinstance(pipeline, str):
            raise ConversionError(f"the {INDEX} names no pipeline", got=f"_class_name: {pipeline}")
        classes = {name: entry[1] for name, entry in index.items() if _is_component(entry)}
        settings = {
            name: entry for name, entry in index.items() if not isinstance(entry, list) and not name.startswith("_")
        }
        if strange := [name for name in classes if not _PLAIN.fullmatch(name)]:
            raise ConversionError(f"the {INDEX} has a component that is no plain name", got=strange[0])
        return cls(path=path, source=source, pipeline=pipeline, classes=classes, settings=settings)

    def has(self, component: str) -> bool:
        """Return whether the pipeline has a component, and its folder is there."""
        return component in self.classes and (self.path / component).is_dir()

    def folder(self, component: str) -> Path:
        """Return a component's folder; raises ConversionError when it isn't there."""
        if not self.has(component):
            raise ConversionError(
                f"the checkpoint {self.source} has no {component}",
                allowed=", ".join(name for name in self.classes if self.has(name)) or "nothing: it has no components",
                hint="its folder is missing; download it too" if component in self.classes else "",
            )
        return self.path / component

    def files(self, component: str) -> tuple[Path, ...]:
        """Return the files in a component's folder, by name; raises ConversionError when it isn't there."""
        return tuple(sorted(entry for entry in self.folder(component).iterdir() if entry.is_file()))

    def config(self, component: str, file: str = "") -> dict[str, Any]:
        """Return a component's configuration, or another JSON file of its folder; raises ConversionError."""
        folder = self.folder(component)
        if file and not _PLAIN.fullmatch(file):
            raise ConversionError("the name of a configuration is not plain", got=file)
        names = (file,) if file else CONFIGS
        for name in names:
            if (folder / name).is_file():
                return _read_json(folder / name)
        raise ConversionError(
            f"the {component} of {self.source} has no configuration", got=_listed(folder), allowed=" or ".join(names)
        )

    def weights(self, component: str) -> Shards:
        """Open a component's weights, reading their headers; raises ConversionError when something doesn't fit."""
        return open_shards(self.folder(component))

    @property
    def licence(self) -> str:
        """What the model card in README.md says, such as "apache-2.0"; UNKNOWN_LICENCE without one."""
        card = self.path / "README.md"
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        if not text.startswith("---"):
            return UNKNOWN_LICENCE
        front = text.split("\n---", 1)[0]
        found: dict[str, str] = {name: value.strip("\"'") for name, value in _LICENCE.findall(front)}
        licence = found.get("license", UNKNOWN_LICENCE)
        return found.get("license_name", licence) if licence == "other" else licence

    def digest(self) -> str:
        """Return a SHA-256 in hexadecimal that identifies the checkpoint in milliseconds.

        It covers model_index.json, the components' other files whole, and of their weights what `Shards.digest` covers.
        """
        digest = hashlib.sha256()
        digest.update((self.path / INDEX).read_bytes())
        for component in sorted(filter(self.has, self.classes)):
            files = self.files(component)
            for file in files:
                if file.suffix in (".json", ".txt", ".model", ".jinja"):
                    content = hashlib.sha256(file.read_bytes()).hexdigest()
                    digest.update(json.dumps([component, file.name, content]).encode())
            if any(file.suffix == ".safetensors" for file in files):
                digest.update(json.dumps([component, self.weights(component).digest()]).encode())
        return digest.hexdigest()


def _is_component(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)


def _read_json(path: Path) -> dict[str, Any]:
    where = f"{path.parent.name}/{path.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConversionError(f"the file {where} can't be read", got=error, hint="download it again") from error
    if not isinstance(content, dict):
        raise ConversionError(f"the file {where} is no JSON object", got=type(content).__name__)
    return content


def _listed(folder: Path) -> str:
    return ", ".join(sorted(entry.name for entry in folder.iterdir())) or "an empty folder"
