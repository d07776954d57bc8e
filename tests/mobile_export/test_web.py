"""The web platform without a browser: where onnxruntime-web comes from, and that its templates agree with Python."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import MissingExtraError, OptionError
from edge_runtime.images import resize_to
from mobile_export.cli import export_command
from mobile_export.npm_package import NpmPackage
from mobile_export.platform import Order
from mobile_export.platforms.web import PLATFORM, RUNTIME, WASM_FILES, WEBGPU_FILES
from mobile_export.templates import TEMPLATES

TINY = NpmPackage(
    name="tiny", version="1.0.0",
    integrity="sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
)
"""A package whose digest is that of no bytes at all."""


def archive(path: Path, name: str, version: str) -> Path:
    described = json.dumps({"name": name, "version": version}).encode()
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("package/package.json")
        member.size = len(described)
        tar.addfile(member, io.BytesIO(described))
    return path


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that passes for onnxruntime-web: the right names, and no programs in them."""
    folder = tmp_path_factory.mktemp("onnxruntime-web")
    (folder / "dist").mkdir()
    (folder / "package.json").write_text(json.dumps({"name": RUNTIME.name, "version": RUNTIME.version}))
    for file in (*WASM_FILES, *WEBGPU_FILES):
        (folder / "dist" / file).write_text(file)
    return folder


def test_a_bundle_is_complete_and_the_extension_alone_too(unpacked: Path, tmp_path: Path) -> None:
    artifact = Artifact.open(EMBEDDED)
    (notice,) = PLATFORM.write(Order(artifact=artifact, options={RUNTIME.name: str(unpacked)}), tmp_path)
    assert notice.part == RUNTIME.spec and "Permission is hereby granted" in notice.text
    for place in (tmp_path, tmp_path / "extension"):
        assert Artifact.open(place / "model").version == artifact.version
        assert all((place / "ort" / file).read_text() == file for file in WASM_FILES)
        assert (place / "js" / "worker.js").read_bytes() == (TEMPLATES / "web" / "js" / "worker.js").read_bytes()
    assert artifact.version in (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / "package.json").read_text())["license"] == "Apache-2.0"
    manifest = json.loads((tmp_path / "extension" / "manifest.json").read_text())
    assert manifest["manifest_version"] == 3 and manifest["version"].replace(".", "").isdigit()
    named = [manifest["background"]["service_worker"], manifest["options_ui"]["page"], *manifest["icons"].values()]
    assert all((tmp_path / "extension" / file).is_file() for file in named)


def test_the_verb_writes_it_once(unpacked: Path, tmp_path: Path) -> None:
    arguments = ["web", "nano-banana", "-o", str(tmp_path / "bundle"), "--onnxruntime-web", str(unpacked)]
    done = CliRunner().invoke(export_command, arguments)
    assert done.exception is None, done.output
    assert "| extension |" in done.output and "| **all** |" in done.output
    assert RUNTIME.spec in (tmp_path / "bundle" / "NOTICE.md").read_text()
    with pytest.raises(OptionError, match="exists already"):
        CliRunner().invoke(export_command, arguments, catch_exceptions=False)


def test_another_package_or_version_is_refused(tmp_path: Path) -> None:
    other = archive(tmp_path / "tiny.tgz", "tiny", "1.0.0")
    with pytest.raises(OptionError, match="not tiny@1.0.0.*npm pack tiny@1.0.0"), TINY.opened(other):
        pass
    (tmp_path / "package.json").write_text('{"name": "tiny", "version": "2.0.0"}')
    with pytest.raises(OptionError, match=r"another version.*tiny@2\.0\.0"), TINY.opened(tmp_path):
        pass
    (tmp_path / "package.json").unlink()
    with pytest.raises(OptionError, match="not the package"), TINY.opened(tmp_path):
        pass
    with pytest.raises(OptionError, match="can't be read"), TINY.opened(tmp_path / "nothing.tgz"):
        pass


def test_without_npm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="pm is not installed.*--tiny"), TINY.opened():
        pass


RESAMPLING = """
import { readFileSync } from "node:fs";
const { resized, resizedForModel, resizedPlane, reduced } = await import(process.argv[2]);
const { data, planes, width, height, sizes } = JSON.parse(readFileSync(0));
const picture = { data: Uint8Array.from(data), width, height };
const plane = { data: Float32Array.from(planes), width, height };
const found = sizes.map(([w, h]) => [
    ...["box", "bilinear", "bicubic"].map((filter) => [...resized(picture, w, h, filter).data]),
    [...resizedForModel(picture, w, h).data], [...resizedForModel(picture, w, h, true).data],
    [...resizedPlane(plane, w, h, "bilinear").data],
]);
console.log(JSON.stringify({ found, reduced: [2, 3, 7].map((factor) => [...reduced(picture, factor).data]) }));
"""


@pytest.mark.slow  # needs Node.js
def test_resampling_is_pillows_to_the_last_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (67, 91, 4), np.uint8)
    pixels[:30, :, 3], pixels[30:40, :, 3] = 255, 0
    plane = random.random((67, 91), np.float32)
    sizes = [(32, 32), (91, 20), (17, 67), (182, 134), (5, 3), (200, 40), (80, 40), (50, 10)]
    (tmp_path / "script.mjs").write_text(RESAMPLING)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copytree(TEMPLATES / "web" / "js", tmp_path / "js")
    sent = {
        "data": pixels.ravel().tolist(), "planes": plane.ravel().tolist(), "width": 91, "height": 67, "sizes": sizes,
    }
    done = subprocess.run(
        ["node", str(tmp_path / "script.mjs"), str(tmp_path / "js" / "resize.js")], input=json.dumps(sent), text=True,
        capture_output=True, check=True,
    )
    answer = json.loads(done.stdout)
    picture = Image.fromarray(pixels)
    filters = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    for size, found in zip(sizes, answer["found"], strict=True):
        expected = [
            *(np.asarray(picture.resize(size, filter)) for filter in filters), resize_to(pixels, *size),
            resize_to(pixels, *size, has_alpha=True),
        ]
        for place, (one, other) in enumerate(zip(found, expected, strict=False)):
            assert (np.array(one) == other.ravel()).all(), (size, place)
        smooth = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found[-1], smooth.ravel(), atol=1e-6)
    for factor, found in zip((2, 3, 7), answer["reduced"], strict=True):
        # RGBX, as Pillow premultiplies RGBA before it takes means
        plain = Image.frombuffer("RGBX", (91, 67), pixels.tobytes(), "raw", "RGBX", 0, 1).reduce(factor)
        assert (np.array(found).reshape(-1, 4) == np.asarray(plain).reshape(-1, 4)).all(), factor
