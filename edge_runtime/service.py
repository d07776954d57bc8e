"""`EditService`: the models of one node by name, opened once. What the server and the command call."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.errors import ArtifactError, UnknownModelError
from edge_runtime.family import Abilities
from edge_runtime.plan import Plan, Vocabulary
from edge_runtime.request import DEFAULT_MODEL, EditRequest, EditResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a caller may know of a model. `created` is the manifest's time in seconds since 1970."""

    id: str
    family: str
    version: str
    recipe: str
    ready: bool
    created: int


class EditService:
    """Edits by the model that a request names. Safe to share between threads: a model runs one edit at a time."""

    def __init__(self, editors: Sequence[Editor]) -> None:
        self._editors = {_unique(editor, editors): editor for editor in editors}
        self._locks = {name: threading.Lock() for name in self._editors}

    def models(self) -> tuple[ModelInfo, ...]:
        """List the models, the default one first."""
        return tuple(_info(name, editor) for name, editor in self._editors.items())

    def vocabulary(self, model: str = DEFAULT_MODEL) -> Vocabulary:
        """Return a model's adjustments; raises UnknownModelError."""
        return self._editor(model).vocabulary

    def abilities(self, model: str = DEFAULT_MODEL) -> Abilities | None:
        """Return what a model that paints can be asked for; None for one that works by plans or isn't here."""
        return self._editors[model].abilities if model in self._editors else None

    def plan(self, instruction: str, model: str = DEFAULT_MODEL) -> Plan:
        """Say what an instruction means to a model."""
        with self._turn(model) as editor:
            return editor.plan(instruction)

    def edit(self, request: EditRequest) -> EditResult:
        """Carry out a request by the model that it names."""
        with self._turn(request.model) as editor:
            return editor.edit(request)

    def close(self) -> None:
        """Release all models, waiting for running edits."""
        for name in self._editors:
            with self._turn(name) as editor:
                editor.close()

    def _editor(self, model: str) -> Editor:
        if model not in self._editors:
            raise UnknownModelError("unknown model", got=model, allowed=", ".join(self._editors), param="model")
        return self._editors[model]

    @contextmanager
    def _turn(self, model: str) -> Generator[Editor, None, None]:
        editor = self._editor(model)
        with self._locks[model]:
            yield editor


def open_service(models: Sequence[Path] = (), threads: int | None = None) -> EditService:
    """Open the embedded nano-banana and the artifacts in the given folders."""
    return EditService([Editor.open(path, threads=threads) for path in (EMBEDDED, *models)])


def _unique(editor: Editor, editors: Sequence[Editor]) -> str:
    """The model's name; the folder's name for a further artifact of a model that is there already."""
    name = editor.artifact.manifest.name
    if editor is not editors[0] and name == editors[0].artifact.manifest.name:
        name = editor.artifact.folder.resolve().name
    if any(other is not editor and other.artifact.folder.resolve().name == name for other in editors[1:]):
        raise ArtifactError("two models have the same name", got=name, hint="rename one of the folders")
    return name


def _info(name: str, editor: Editor) -> ModelInfo:
    manifest = editor.artifact.manifest
    return ModelInfo(
        id=name, family=manifest.family, version=editor.artifact.version, recipe=manifest.recipe, ready=True,
        created=int((editor.artifact.folder / "manifest.json").stat().st_mtime),
    )
