"""Artifacts whose graphs have a largest size: pictures are rendered in tiles, without seams."""

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from edge_runtime.canonical_json import decode, encode
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.errors import ArtifactError
from edge_runtime.request import EditRequest

SIDE = 512


def with_sizes(folder: Path, sizes: object) -> Path:
    """Return a copy of the embedded artifact, whose graphs take any size, that says it has these."""
    shutil.copytree(EMBEDDED, folder)
    manifest = decode((folder / "manifest.json").read_bytes())
    manifest["settings"]["fixed_sizes"] = sizes
    (folder / "manifest.json").write_bytes(encode(manifest))
    return folder


@pytest.fixture(scope="module")
def tiled(tmp_path_factory) -> Path:
    square = [{"height": SIDE, "width": SIDE, "regions": 1}]
    return with_sizes(tmp_path_factory.mktemp("tiled") / "artifact", {"render": square, "render_full": square})


def edited(folder: Path, width: int, height: int, plan: dict[str, object]) -> np.ndarray:
    photo = Image.fromarray(data.astronaut()).resize((width, height))
    buffer = BytesIO()
    photo.save(buffer, "PNG")
    with Editor.open(folder) as editor:
        result = editor.edit(EditRequest(image=buffer.getvalue(), plan=plan, output_format="png"))
    return np.asarray(Image.open(BytesIO(result.image))).astype(np.int16)


def plan(*adjustments: str) -> dict[str, object]:
    return {"edits": [{"adjust": name, "amount": 0.7, "region": "all"} for name in adjustments]}


@pytest.mark.parametrize(
    ("size", "adjustments"),
    [((1100, 400), ("exposure", "vignette")), ((600, 520), ("sharpen", "grain")),
     ((1100, 700), ("sharpen", "tilt_shift", "hdr")), ((513, 1300), ("blur", "clarity"))],
)
def test_tiles_make_the_picture_that_strips_make(tiled, adjustments, size):
    whole, pieces = (edited(folder, *size, plan(*adjustments)) for folder in (EMBEDDED, tiled))
    # layers end where a tile's margin ends: far from what is kept of it
    assert np.abs(whole - pieces).max() <= 1


@pytest.mark.parametrize(
    "sizes",
    [
        7,
        [],
        {"render": 7},
        {"render": [7]},
        {"render": [{"height": "big", "width": 512}]},
        {"render": [{"height": 512}]},
        {"render": [{"height": 1, "width": 1}]},
        {"render": [{"height": -512, "width": -512}]},
    ],
)
def test_sizes_that_make_no_sense(tmp_path, sizes):
    with pytest.raises(ArtifactError, match="settings don't fit"):
        Editor.open(with_sizes(tmp_path / "artifact", sizes))
