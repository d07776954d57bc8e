"""The bundles for phones as `make bundles` builds them: all their code is compiled, and all their tests are run.

NANOEDGE_BUNDLES names the folder that `make bundles` filled; without it the same commands fill one, in some minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from android_program import LiteRTDevice, bundle_command, compile_bundle
from programs import CoreMLDevice, GraphRunner, Program
from swift_modules import compiled
from toolchains import Kotlin, Swift

from edge_runtime.artifact import Artifact
from mobile_export.platforms.android import PLATFORM

LARGEST_BYTES = 16_000_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True, slots=True)
class Built:
    artifact: Artifact
    bundle: Path


def built(platform: str, target: str, names: tuple[str, str], folder: Path) -> Built:
    """Return what `make bundles` built, or build it in `folder`."""
    given = os.environ.get("NANOEDGE_BUNDLES")
    artifact, bundle = (Path(given or folder) / name for name in names)
    if not given:
        _nanoedge("convert", "nano-banana", "--to", target, "-o", str(artifact))
        _nanoedge("export", platform, str(artifact), "-o", str(bundle))
    return Built(Artifact.open(artifact), bundle)


@pytest.fixture(scope="module")
def android(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built("android", "tflite", ("nano-tflite", "nano-banana-android"), tmp_path_factory.mktemp("android"))


@pytest.fixture(scope="module")
def ios(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built("ios", "coreml", ("nano-coreml", "NanoBananaKit"), tmp_path_factory.mktemp("ios"))


def test_the_android_bundle_edits_as_the_python_runtime(android: Built, tmp_path: Path) -> None:
    device, kotlin = LiteRTDevice(android.artifact), Kotlin.installed()
    jar = compile_bundle(kotlin, android.bundle, tmp_path)
    with Program(bundle_command(kotlin, jar, android.bundle, golden_of(android)), device.answers) as program:
        answer = program.answer()
    assert answer.text("failures") == ""
    assert int(answer.words[1]) >= 8
    opened = {name.partition(" ")[0] for name in device.runs}
    assert opened == {part.name for part in android.artifact.manifest.components}
    vectors = tmp_path / "vectors"
    shutil.copytree(golden_of(android), vectors)
    (vectors / "edits/turn.png").write_bytes((vectors / "edits/warmer.png").read_bytes())
    with Program(bundle_command(kotlin, jar, android.bundle, vectors), device.answers) as program:
        assert "turn" in program.answer().text("failures"), "a wrong picture must fail"


def test_the_model_takes_little_of_an_app(android: Built, ios: Built) -> None:
    """No plane of constants for every size, as converters fold them out of pictures' shapes."""
    for built in (android, ios):
        assert sum(part.bytes for part in built.artifact.manifest.files) < LARGEST_BYTES


def test_the_ios_bundle_edits_as_the_python_runtime(ios: Built, tmp_path: Path) -> None:
    swift = Swift.installed()
    command = swift.command(tmp_path, compiled(swift, tmp_path, ios.bundle))
    with (
        closing(GraphRunner(ios.artifact)) as graphs,
        Program(command, CoreMLDevice(graphs, tmp_path).answers) as program,
    ):
        assert program.answer().text("failures") == ""


def golden_of(android: Built) -> Path:
    return android.bundle / PLATFORM.golden


def _nanoedge(*arguments: str) -> None:
    code = "import sys; from edge_runtime.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
