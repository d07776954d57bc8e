"""The iOS bundle: written, parsed, compiled, and run on stand-ins for Apple's libraries (tests/mobile_export/swift)."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_swift
from programs import CoreMLDevice, GraphRunner, Program
from swift_modules import compiled
from toolchains import Swift

from edge_runtime import golden
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import DataFile
from mobile_export.bundle import Bundle, export
from mobile_export.platform import Order
from mobile_export.platforms.ios import PLATFORM, oldest_systems
from mobile_export.templates import TEMPLATES

HERE = Path(__file__).parent
SWIFT_FILES = sorted((TEMPLATES / "ios").rglob("*.swift"))


def packaged(folder: Path, format_version: int = 8) -> Artifact:
    """The embedded model laid out as Core ML packages are. Its files are ONNX all the same: nothing here opens them
    but the stand-in for Core ML, which asks ONNX Runtime."""
    embedded = Artifact.open(EMBEDDED)
    model = folder / "model.mlmodel"
    model.write_bytes(bytes([0x08, format_version, 0]))
    files, components = {}, []
    for part in embedded.manifest.components:
        package = f"{part.name}.mlpackage"
        data = DataFile(file=f"{package}/model.mlmodel")
        files |= {part.name: embedded.path(part.name), data.file: model}
        components.append(replace(part, file=f"{package}/Manifest.json", data=(data,), sha256="", bytes=0))
    manifest = replace(embedded.manifest, target="coreml", components=tuple(components))
    return write_artifact(folder / "packaged", manifest, files)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return packaged(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def bundle(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "NanoBananaKit"
    return export(PLATFORM, Order(artifact=artifact), folder, lambda to: golden.write(Artifact.open(EMBEDDED), to))


def test_the_bundle_has_code_model_vectors_and_licences(bundle: Bundle, artifact: Artifact) -> None:
    files = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    model = "Sources/NanoBanana/nano-banana"
    assert {f"{model}/{part.file}" for part in artifact.manifest.files} | {f"{model}/manifest.json"} <= files
    assert {"Package.swift", "README.md", "NOTICE.md", "SIZES.md", "Sources/NanoBanana/Core/Editing.swift"} <= files
    assert json.loads((bundle.folder / PLATFORM.golden / "golden.json").read_text())["edits"]
    readme = (bundle.folder / "README.md").read_text()
    assert artifact.version in readme and "ran on no Apple device" in readme
    assert '.iOS("17.0"), .macOS("14.0")' in (bundle.folder / "Package.swift").read_text()


def test_the_oldest_system_is_what_the_packages_need(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert oldest_systems(packaged(tmp_path / "new", 9)).ios == "18.0"
    (tmp_path / "unknown").mkdir()
    with pytest.raises(ArtifactError, match=r"doesn't know.*77.*--to coreml"):
        oldest_systems(packaged(tmp_path / "unknown", 77))


@pytest.mark.parametrize("file", SWIFT_FILES, ids=lambda file: file.name)
def test_every_file_fits_the_swift_grammar(file: Path) -> None:
    assert faults(file.read_bytes()) == []


def test_a_slip_is_found_by_the_grammar() -> None:
    source = (TEMPLATES / "ios/Sources/NanoBanana/Core/Canvas.swift").read_bytes()
    assert faults(source.replace(b"func mirrored(", b"func mirrored(,")) != []
    assert faults(source.rstrip().removesuffix(b"}")) != []


def test_no_number_of_the_manifest_stands_in_the_code(artifact: Artifact) -> None:
    settings = json.loads((artifact.folder / "manifest.json").read_text())["settings"]
    common = {"0.1", "0.5", "4", "16"}  # mean other things too
    numbers = {f"{value:.15g}" for value in _leaves({**settings, "vocabulary": {}})} - common
    code = re.sub(r"//[^\n]*", "", "\n".join(file.read_text() for file in SWIFT_FILES))
    assert "704" in numbers
    assert [number for number in numbers if re.search(rf"(?<![\w.]){re.escape(number)}(?![\w.])", code)] == []


@pytest.mark.slow
def test_the_bundles_own_tests_pass_and_fail_on_a_wrong_picture(bundle: Bundle, tmp_path: Path) -> None:
    swift = Swift.installed()
    command = swift.command(tmp_path, compiled(swift, tmp_path, bundle.folder))
    swift.run(tmp_path, "swift", "package", "--package-path", "kit", "--disable-sandbox", "dump-package")
    vectors = tmp_path / "kit" / PLATFORM.golden
    with closing(GraphRunner(Artifact.open(EMBEDDED))) as graphs:
        answers = CoreMLDevice(graphs, tmp_path).answers
        with Program(command, answers) as program:
            assert program.answer().text("failures") == ""
        (vectors / "edits/turn.png").write_bytes((vectors / "edits/warmer.png").read_bytes())
        with Program(command, answers) as program:
            failures = program.answer().text("failures")
    assert "turn" in failures and "FAILED" in failures


def faults(source: bytes) -> list[str]:
    """Places that the Swift grammar has no rule for, or where it misses something."""
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language())).parse(source)
    nodes, found = [tree.root_node], []
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {source[node.start_byte : node.end_byte][:60]!r}")
        nodes.extend(node.children)
    return found


def _leaves(value: object) -> list[float]:
    if isinstance(value, dict):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    return [value] if isinstance(value, (int, float)) else []
