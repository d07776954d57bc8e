"""Runs the same edits through several artifacts and says how alike the pictures are: formats, recipes, versions.

An artifact whose target no engine of edge_runtime runs may have one here, for checking only (CHECKERS).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converters.calibration import SUFFIXES, Photo, bundled_photographs, read_photos
from edge_runtime import images, plugins
from edge_runtime.artifact import Artifact
from edge_runtime.editor import Editor
from edge_runtime.engine import Engine, engine_for
from edge_runtime.errors import EngineError, OptionError
from edge_runtime.family import Family
from edge_runtime.machine import Machine
from edge_runtime.request import EditRequest

CHECKERS: Final = {"coreml": "converters.coreml_engine", "tensorrt": "converters.tensorrt_engine"}
"""Target -> module with an `ENGINE` that computes what such a file says, where the platform's own can't run."""

INSTRUCTIONS: Final = Path(__file__).with_name("compared_instructions.json")
EQUAL_DB: Final = 60.0
"""What equal pictures, and all that nobody could tell from them, count as in a mean."""

CALIBRATION_EVERY: Final = 4
Report = Callable[[int, int], None]
"""Called with edits done and edits in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The edits: every instruction on every photograph."""

    photos: tuple[Photo, ...]
    instructions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One artifact in the comparison.

    `engine` is what ran it. `parts` has the bytes of each component, `small` the parameters and bytes of the layers of
    each precision.
    """

    name: str
    target: str
    recipe: str
    engine: str
    parts: dict[str, int]
    small: dict[str, tuple[int, int]]

    @property
    def total_bytes(self) -> int:
        """Return the size of all graphs."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How alike two artifacts' pictures are: PSNR in decibels over all edits; `worst` is the edit with `least_db`."""

    first: str
    second: str
    mean_db: float
    least_db: float
    worst: str


def load_suite(folder: Path | None, instructions: Path | None, limit: int) -> Suite:
    """Return the photographs of a folder, or those that come with scikit-image, and the instructions of a JSON list.

    Raises OptionError and ImageError.
    """
    if folder is None:
        bundled = bundled_photographs()
        photos: Sequence[Photo] = (*bundled.comparison, *bundled.calibration[::CALIBRATION_EVERY])
    else:
        photos = read_photos(folder, limit)
    if not photos:
        raise OptionError(
            "the folder has no photographs", got=folder, allowed=f"files {', '.join(SUFFIXES)}", param="photos"
        )
    texts = json.loads((instructions or INSTRUCTIONS).read_text(encoding="utf-8"))
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise OptionError("instructions must be a JSON list of texts", got=instructions, param="instructions")
    return Suite(photos=tuple(photos[:limit]), instructions=tuple(texts))


def engine_of(target: str, served: bool = False) -> Engine:
    """Return what runs the target here: for checking where there is something for that, unless it is to be `served`.

    Raises EngineError.
    """
    module = CHECKERS.get(target)
    if module is None or served:
        return engine_for(target)
    if importlib.util.find_spec(module) is None:
        raise EngineError(
            "artifacts of this target can't be run on this machine", got=target, hint="leave it out of the comparison"
        )
    engine: Engine = importlib.import_module(module).ENGINE
    return engine


def open_editor(path: Path, served: bool = False) -> Editor:
    """Open an artifact of any target; raises ArtifactError, EngineError and MissingExtraError."""
    artifact = Artifact.open(path)
    family: Family = plugins.load("families", artifact.manifest.family)
    engine = engine_of(artifact.manifest.target, served)
    model = family.open(artifact, engine, threads=Machine.detect().cores, device=engine.device)
    return Editor(artifact, model, images.Limits())


def compare(
    paths: Sequence[Path], suite: Suite, report: Report, served: bool = False
) -> tuple[list[Side], list[Pair]]:
    """Run the suite through every artifact, see `engine_of`; raises OptionError for fewer than two."""
    if len(paths) < 2:
        raise OptionError("a comparison needs two artifacts", got=len(paths), allowed="2 or more")
    names = unique_names(paths)
    editors = [open_editor(path, served) for path in paths]
    figures: dict[tuple[str, str], list[float]] = {pair: [] for pair in combinations(names, 2)}
    edits = [(photo, text) for photo in suite.photos for text in suite.instructions]
    for done, (photo, text) in enumerate(edits):
        report(done, len(edits))
        pictures = dict(zip(names, (_edited(editor, photo, text) for editor in editors), strict=True))
        for first, second in figures:
            figures[first, second].append(likeness_db(pictures[first], pictures[second]))
    report(len(edits), len(edits))
    sides = [_side(name, editor.artifact, served) for name, editor in zip(names, editors, strict=True)]
    return sides, [_pair(pair, found, suite) for pair, found in figures.items()]


def unique_names(paths: Iterable[Path]) -> list[str]:
    """Return the folders' names, with as many parents as it takes to tell them apart."""
    resolved = [path.resolve() for path in paths]
    for parts in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-parts:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise OptionError("an artifact is given twice", got=", ".join(map(str, resolved)))


def likeness_db(first: NDArray[Any], second: NDArray[Any]) -> float:
    """PSNR of two pictures uint8 (height, width, 3), at most EQUAL_DB; 0 when their sizes differ."""
    if first.shape != second.shape:
        return 0.0
    error = float(np.square(first.astype(np.float32) - second).mean())
    return min(EQUAL_DB, 10.0 * math.log10(255.0**2 / max(error, 1e-12)))


def _edited(editor: Editor, photo: Photo, text: str) -> NDArray[Any]:
    """Return the edited picture on white, uint8 (height, width, 3): what is transparent has no colour of its own."""
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, "PNG", compress_level=1)
    result = editor.edit(EditRequest(image=buffer.getvalue(), instruction=text, output_format="png"))
    picture = Image.open(BytesIO(result.image)).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB"))


def _side(name: str, artifact: Artifact, served: bool) -> Side:
    manifest = artifact.manifest
    small: dict[str, tuple[int, int]] = {}
    for figures in manifest.quality.values():
        for key, value in figures.items():
            precision, _, what = key.rpartition("_")
            if what == "parameters":
                before = small.get(precision, (0, 0))
                small[precision] = (before[0] + value, before[1] + figures[f"{precision}_bytes"])
    parts = {component.name: component.total_bytes for component in manifest.components}
    engine = engine_of(manifest.target, served).name
    return Side(name=name, target=manifest.target, recipe=manifest.recipe, engine=engine, parts=parts, small=small)


def _pair(names: tuple[str, str], found: Sequence[float], suite: Suite) -> Pair:
    place = int(np.argmin(found))
    photo, text = divmod(place, len(suite.instructions))
    worst = f"photo {photo + 1}, {suite.instructions[text]}"
    mean = float(np.mean(found))
    return Pair(first=names[0], second=names[1], mean_db=mean, least_db=float(found[place]), worst=worst)
