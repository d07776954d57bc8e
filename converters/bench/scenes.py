"""What people vote on: the pictures in the folder that `nanoedge bench` writes, scene by scene. Nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from edge_runtime import images
from edge_runtime.artifact import locate
from edge_runtime.errors import InputError
from edge_runtime.limits import Limits

REPORT_FILE: Final = "report.json"
BEFORE: Final = "before.jpg"
_MAX_REPORT_BYTES: Final = 512 << 20
_MAX_LABEL_CHARACTERS: Final = 200
_HINT: Final = "give the folder that nanoedge bench wrote by -o"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A photo and an instruction. `pictures` has each model's result, `before` the photo: real paths.

    `digests` has the SHA-256 of each result.
    """

    case: str
    photo: str
    scenario: str
    language: str
    instruction: str
    before: Path
    pictures: Mapping[str, Path]
    digests: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return what tells this scene from all others of its report."""
        return f"{self.case}/{self.photo}"

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the pairs of models whose results differ, each in alphabetical order."""
        for first, second in itertools.combinations(sorted(self.pictures), 2):
            if self.digests[first] != self.digests[second]:
                yield first, second


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """All scenes of a report by name, its models, and how many edits have no picture."""

    models: tuple[str, ...]
    by_name: Mapping[str, Scene]
    without_picture: int

    @property
    def different(self) -> int:
        """Return how many pairs can be asked about."""
        return sum(1 for scene in self.by_name.values() for _ in scene.pairs())

    @property
    def same(self) -> int:
        """Return how many pairs can't be asked about, as both models made the same file."""
        return sum(math.comb(len(scene.pictures), 2) for scene in self.by_name.values()) - self.different

    def digests(self) -> Iterator[tuple[str, str, str]]:
        """Yield scene, model and SHA-256 of every picture."""
        for scene in self.by_name.values():
            for model, digest in scene.digests.items():
                yield scene.name, model, digest


def read_scenes(folder: Path) -> Scenes:
    """Read a report's folder.

    Raises InputError when it is none, lacks a second model, or a path leaves it; ImageError for what no page can show.
    """
    report = _load(folder)
    models = tuple(dict.fromkeys(_text(model, "label", "a model") for model in _list(report, "models")))
    cases = {_text(case, "id", "a case"): case for case in _list(report, "cases")}
    found: dict[tuple[str, str], dict[str, Path]] = {}
    missing = 0
    for edit in _list(report, "edits"):
        case, photo, model = (_text(edit, member, "an edit") for member in ("case", "photo", "model"))
        if case not in cases or model not in models:
            raise InputError("an edit of the report names a case or a model that is not listed", got=f"{case}, {model}")
        if edit.get("picture") is None:  # it failed: there is nothing to look at
            missing += 1
            continue
        picture = _text(edit, "picture", "an edit")
        found.setdefault((case, photo), {})[model] = _locate(folder, picture)
        before = PurePosixPath(picture).with_name(BEFORE).as_posix()
        found[case, photo].setdefault("", _locate(folder, before))
    scenes = [
        _scene(cases[case], case, photo, pictures) for (case, photo), pictures in found.items() if len(pictures) > 2
    ]
    _require_two(models, scenes)
    return Scenes(models=models, by_name={scene.name: scene for scene in scenes}, without_picture=missing)


def read_file(path: Path) -> bytes:
    """Return a file's bytes; raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("a file of the report can't be read", got=f"{path}: {error.strerror}") from error


def _require_two(models: tuple[str, ...], scenes: list[Scene]) -> None:
    if len(models) < 2:
        raise InputError(
            "people can only compare two models or more", got=", ".join(models) or "a report without a model",
            hint="name a second one: nanoedge bench --model A --model B -o report",
        )
    if not scenes:
        raise InputError(
            "no photo in the report has results of two models", got=f"{len(models)} models",
            hint="were pictures deleted, or did every edit of a model fail? Run nanoedge bench again",
        )
    if not any(True for scene in scenes for _ in scene.pairs()):
        raise InputError(
            "there is nothing to choose: on every photo the models made the same picture", got=", ".join(models),
            hint="compare models that differ more",
        )


def _scene(case: Mapping[str, Any], name: str, photo: str, pictures: dict[str, Path]) -> Scene:
    scenario, language, instruction = (
        _text(case, member, f"the case {name}") for member in ("scenario", "language", "instruction")
    )
    before = pictures.pop("")
    return Scene(
        case=name, photo=photo, scenario=scenario, language=language, instruction=instruction, before=before,
        pictures=pictures, digests={model: _digest(path) for model, path in pictures.items()},
    )


def _digest(path: Path) -> str:
    data = read_file(path)
    images.size_of(data, Limits())  # refuses what is no picture
    return hashlib.sha256(data).hexdigest()


def _load(folder: Path) -> Mapping[str, Any]:
    if not (folder / REPORT_FILE).exists():
        raise InputError(f"this folder holds no report: it has no {REPORT_FILE}", got=folder, hint=_HINT)
    path = _locate(folder, REPORT_FILE)
    if path.stat().st_size > _MAX_REPORT_BYTES:
        raise InputError("the report is too large", got=path.stat().st_size, allowed=f"{_MAX_REPORT_BYTES} bytes")
    try:
        report = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON", got=error, hint=_HINT) from error
    if not isinstance(report, dict):
        raise InputError(f"{path} is not a report", got=type(report).__name__, allowed="an object", hint=_HINT)
    return report


def _locate(folder: Path, name: str) -> Path:
    return locate(folder, name, "report", InputError)


def _list(report: Mapping[str, Any], member: str) -> list[Mapping[str, Any]]:
    found = report.get(member)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"the report's {member} must be a list of objects", got=type(found).__name__, hint=_HINT)
    return found


def _text(owner: Mapping[str, Any], member: str, what: str) -> str:
    found = owner.get(member)
    longest = None if member == "instruction" else _MAX_LABEL_CHARACTERS
    if not isinstance(found, str) or not found or len(found) > (longest or len(found)):
        raise InputError(
            f"{what} of the report has no usable {member}", got=ascii(found), allowed="a text of 1 to 200 characters",
            hint=_HINT,
        )
    return found
