"""What a bench shall measure, as one frozen value, and the models by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from converters.compare import unique_names
from edge_runtime.artifact import Artifact
from edge_runtime.cli import artifact_folder
from edge_runtime.errors import OptionError
from edge_runtime.route import DEFAULT_MODEL

_FLOAT: Final = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A model in the bench: `label` names it in the report, `parent` is the label of the float model it came from."""

    label: str
    artifact: Artifact
    parent: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what a report tells of it."""
        manifest = self.artifact.manifest
        return {
            "label": self.label, "name": manifest.name, "family": manifest.family, "target": manifest.target,
            "recipe": manifest.recipe, "bytes": manifest.total_bytes, "version": self.artifact.version,
            "parent": self.parent,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A running node: `rates` in edits a second, `seconds` at each, `model` by its name there."""

    url: str
    key: str | None = field(default=None, repr=False)
    rates: tuple[float, ...] = (1.0, 2.0, 4.0)
    seconds: float = 30.0
    model: str = DEFAULT_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is measured. `rounds` is how often each edit is timed, `cold_starts` how often each model is started anew.

    `side` is the photographs' long side in pixels. `edits` None means the whole suite.
    """

    contenders: tuple[Contender, ...] = ()
    node: Node | None = None
    edits: int | None = None
    rounds: int = 5
    cold_starts: int = 5
    side: int = 768
    seed: int = 0


def contenders(models: Sequence[str], parent: Path | None) -> tuple[Contender, ...]:
    """Return the models given as NAME, FOLDER or LABEL=FOLDER, each with its float parent.

    The parent is `parent`, or the model among them that is in full precision and of the same checkpoint. Raises
    OptionError, ArtifactError and UnknownModelError.
    """
    named = [_named(text) for text in models]
    paths = [artifact_folder(text) for _, text in named]
    folders = [path for (label, text), path in zip(named, paths, strict=True) if not label and text != DEFAULT_MODEL]
    plain = iter(unique_names(folders) if folders else ())
    labels = [label or (text if text == DEFAULT_MODEL else next(plain)) for label, text in named]
    labels = [label.replace("/", "-") for label in labels]
    if len(set(labels)) < len(labels):
        raise OptionError(
            "two models have one label", got=", ".join(labels), hint="give labels: LABEL=FOLDER", param="model"
        )
    opened = [Contender(label=label, artifact=Artifact.open(path)) for label, path in zip(labels, paths, strict=True)]
    if parent is not None:
        above = next((one for one in opened if one.artifact.folder.resolve() == parent.resolve()), None)
        if above is None:
            above = Contender(label=parent.resolve().name, artifact=Artifact.open(parent))
            if above.label in labels:
                above = Contender(label=f"{above.label}-parent", artifact=above.artifact)
            opened.append(above)
        return tuple(_with_parent(one, above) for one in opened)
    return tuple(_with_parent(one, _found_parent(one, opened)) for one in opened)


def _named(text: str) -> tuple[str, str]:
    label, separator, folder = text.partition("=")
    return (label, folder) if separator and not Path(text).is_dir() else ("", text)


def _with_parent(one: Contender, parent: Contender | None) -> Contender:
    if parent is None or parent.label == one.label:
        return one
    return Contender(label=one.label, artifact=one.artifact, parent=parent.label)


def _found_parent(one: Contender, among: Sequence[Contender]) -> Contender | None:
    """Return the float model of the same checkpoint, which the provenance of both names by its digest."""
    checkpoint = one.artifact.manifest.provenance.get("checkpoint_sha256")
    return next(
        (
            other for other in among
            if other.artifact.manifest.recipe == _FLOAT and checkpoint is not None
            and other.artifact.manifest.provenance.get("checkpoint_sha256") == checkpoint
        ),
        None,
    )  # fmt: skip
