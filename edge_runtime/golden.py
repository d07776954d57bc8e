"""Golden vectors: small inputs and what an artifact makes of them, as files that tests in any language can read.

    golden.json          what is there: graphs with their tensors, edits with their plans, and how well a picture must
                         agree, made by the same graphs or (`other_format_psnr_db`) by those of another format
    photo.png, mask.png  what the edits start from; the mask is white where an edit belongs
    graphs/NAME.KIND.N.bin   one tensor, little-endian, in the order of its shape; one run of each graph
    edits/NAME.png       the picture after an edit

They are measured with the engine of this machine, so they are expected values of the artifact, not of the original.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from edge_runtime import plugins
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.engine import Engine, Session, engine_for
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.family import Family
from edge_runtime.limits import Limits
from edge_runtime.manifest import Component
from edge_runtime.request import EditRequest
from edge_runtime.tensors import Tensor, TensorSpec

FORMAT_VERSION: Final = 1
PHOTO: Final = Path(__file__).with_name("golden_photo.png")
"""A cat, 167 x 113 pixels, opaque: Chelsea by Stefan van der Walt, CC0."""

LEAST_PSNR_DB: Final = 40.0
"""What an edit elsewhere must agree with: what the eye can't tell apart."""

LEAST_PSNR_BY_MASK_DB: Final = 28.0
"""The same for edits by a region in another format. Formats round the mask's network differently, and what a mask is
unsure of, as around this cat, comes out a little more or less opaque: 32 dB between ONNX and Core ML in 8 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An edit of the golden photo; `masked` gives it the golden mask, `by_region` says that the model finds one."""

    name: str
    instruction: str
    masked: bool = False
    by_region: bool = False


CASES: Final = (
    Case(name="warmer", instruction="warmer and a bit more contrast"),
    Case(name="vintage", instruction="vintage look"),
    Case(name="background", instruction="blur the background", by_region=True),
    Case(name="cut-out", instruction="remove the background", by_region=True),
    Case(name="clarity", instruction="more clarity"),
    Case(name="auto", instruction="auto enhance"),
    Case(name="denoise", instruction="remove the noise"),
    Case(name="erase", instruction="remove this", masked=True),
    Case(name="inside", instruction="darker", masked=True),
    Case(name="turn", instruction="rotate left"),
    Case(name="enlarge", instruction="upscale"),
    Case(name="pixelate", instruction="pixelate"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    component: Component
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(slots=True)
class _RecordingEngine:
    """Another engine, whose first run of every component is kept."""

    engine: Engine
    runs: dict[str, _Run] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def targets(self) -> tuple[str, ...]:
        return self.engine.targets

    @property
    def device(self) -> str:
        return self.engine.device

    def open(
        self, path: Path, component: Component, *, threads: int, device: str = "cpu", seldom: bool = False
    ) -> Session:
        """See `Engine.open`."""
        session = self.engine.open(path, component, threads=threads, device=device, seldom=seldom)
        return _RecordingSession(session, component, self.runs)


class _RecordingSession:
    """See `Session`."""

    def __init__(self, session: Session, component: Component, runs: dict[str, _Run]) -> None:
        self._session, self._component, self._runs = session, component, runs

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = self._session.run(inputs)
        self._runs.setdefault(
            self._component.name, _Run(component=self._component, inputs=dict(inputs), outputs=dict(outputs))
        )
        return outputs

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> _RecordingSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def source(artifact: Artifact, given: Artifact | None = None) -> Artifact:
    """Return the artifact whose results are expected of `artifact`.

    That is `given`, else the artifact itself where an engine here runs it, else the embedded model. Raises
    ArtifactError unless both were made from one checkpoint.
    """
    if given is None:
        try:
            engine_for(artifact.manifest.target)
        except EngineError:
            given = Artifact.open(EMBEDDED)
        else:
            return artifact
    key = "checkpoint_sha256"
    digests = [one.manifest.provenance.get(key) for one in (artifact, given)]
    if artifact.manifest.family != given.manifest.family or digests[0] != digests[1]:
        raise ArtifactError(
            "golden vectors must come from the same model", got=f"{given.folder}: {digests[1]}", allowed=digests[0],
            hint="give an artifact of this model that runs here with --golden-from",
        )
    return given


def write(artifact: Artifact, folder: Path) -> None:
    """Run every case and fill the empty `folder`; raises what the editor raises."""
    engine = _RecordingEngine(engine_for(artifact.manifest.target))
    family: Family = plugins.load("families", artifact.manifest.family)
    model = family.open(artifact, engine, threads=1)  # one thread: sums are added in one order
    (folder / "graphs").mkdir()
    (folder / "edits").mkdir()
    with Image.open(PHOTO) as photo:
        _mask(*photo.size).save(folder / "mask.png")
    (folder / "photo.png").write_bytes(PHOTO.read_bytes())
    with closing(Editor(artifact, model, Limits())) as editor:
        edits = [_edited(editor, case, folder) for case in CASES]
    golden = {
        "format_version": FORMAT_VERSION,
        "model": artifact.manifest.name,
        "artifact": artifact.version,
        "target": artifact.manifest.target,
        "recipe": artifact.manifest.recipe,
        "engine": engine.name,
        "photo": "photo.png",
        "mask": "mask.png",
        "least_psnr_db": LEAST_PSNR_DB,
        "graphs": [_written(run, folder) for run in engine.runs.values()],
        "edits": edits,
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _edited(editor: Editor, case: Case, folder: Path) -> dict[str, Any]:
    mask = (folder / "mask.png").read_bytes() if case.masked else None
    plan = editor.plan(case.instruction).to_json()
    result = editor.edit(
        EditRequest(image=PHOTO.read_bytes(), mask=mask, instruction=case.instruction, output_format="png")
    )
    file = f"edits/{case.name}.png"
    (folder / file).write_bytes(result.image)
    return {
        "name": case.name, "instruction": case.instruction, "masked": case.masked, "plan": plan,
        "warnings": list(result.warnings), "file": file, "width": result.width, "height": result.height,
        "other_format_psnr_db": LEAST_PSNR_BY_MASK_DB if case.by_region else LEAST_PSNR_DB,
    }


def _mask(width: int, height: int) -> Image.Image:
    """Return an ellipse of a fifth of both sides, left of the middle."""
    y, x = np.mgrid[:height, :width]
    distance = ((x / width - 0.3) / 0.1) ** 2 + ((y / height - 0.4) / 0.1) ** 2
    return Image.fromarray(np.where(distance < 1, 255, 0).astype(np.uint8))


def _written(run: _Run, folder: Path) -> dict[str, Any]:
    specs = {"inputs": run.component.inputs, "outputs": run.component.outputs}
    tensors = {"inputs": run.inputs, "outputs": run.outputs}
    return {
        "component": run.component.name,
        **{
            kind: [_tensor(spec, tensors[kind][spec.name], f"graphs/{run.component.name}.{kind[:-1]}.{place}", folder)
                   for place, spec in enumerate(specs[kind])]
            for kind in specs
        },
    }


def _tensor(spec: TensorSpec, value: Tensor, name: str, folder: Path) -> dict[str, Any]:
    little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"))
    (folder / f"{name}.bin").write_bytes(little.tobytes())
    return {"name": spec.name, "dtype": str(spec.dtype), "shape": list(value.shape), "file": f"{name}.bin"}
