"""What holds for every platform: checks, atomic writing, golden vectors, notices and sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_runtime import plugins
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import ArtifactError, NanoedgeError, OptionError
from mobile_export import sizes, templates
from mobile_export.bundle import export
from mobile_export.cli import export_command
from mobile_export.platform import KIND, Notice, Order, Platform, check


class Paper:
    """A platform that writes one file: what every platform shares is seen without anything else."""

    name, summary, targets, families, golden = "paper", "Paper.", ("onnx",), ("nano-banana",), "tests/golden"
    options: dict[str, str] = {}

    def write(self, order: Order, folder: Path) -> tuple[Notice, ...]:
        (folder / "tests").mkdir()
        (folder / "model.txt").write_text(order.artifact.version)
        return (Notice(part="somebody's part 1.0", licence="MIT", text="Do what you like."),)


@pytest.fixture(scope="module")
def embedded() -> Artifact:
    return Artifact.open(EMBEDDED)


def test_a_bundle_has_what_the_platform_writes_and_what_all_have(embedded: Artifact, tmp_path: Path) -> None:
    def vectors(folder: Path) -> None:
        (folder / "golden.json").write_text("{}")

    bundle = export(Paper(), Order(artifact=embedded), tmp_path / "bundle", vectors)
    files = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    assert files == {"model.txt", "tests/golden/golden.json", "NOTICE.md", "SIZES.md"}
    notice = (bundle.folder / "NOTICE.md").read_text()
    assert "Apache-2.0" in notice and embedded.version in notice and "Do what you like." in notice
    assert "| model.txt | 1 | 12 |" in (bundle.folder / "SIZES.md").read_text()
    assert {size.file: size.size_bytes for size in bundle.sizes}["model.txt"] == 12
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_nothing_is_left_of_a_bundle_that_fails(embedded: Artifact, tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise NanoedgeError("no vectors today")

    with pytest.raises(NanoedgeError, match="No vectors today"):
        export(Paper(), Order(artifact=embedded), tmp_path / "bundle", fails)
    assert not list(tmp_path.iterdir())


def test_an_existing_destination_is_refused(embedded: Artifact, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(OptionError, match="exists already"):
        export(Paper(), Order(artifact=embedded), tmp_path / "bundle", lambda folder: None)


@pytest.mark.parametrize("name", plugins.names(KIND))
def test_an_artifact_of_another_target_is_refused(name: str, embedded: Artifact, tmp_path: Path) -> None:
    platform: Platform = plugins.load(KIND, name)
    manifest = replace(embedded.manifest, target="papyrus")
    files = {part.name: embedded.path(part.name) for part in manifest.components}
    other = write_artifact(tmp_path / "other", manifest, files)
    with pytest.raises(ArtifactError, match=f"xport {name} takes an? .* artifact.*papyrus.*--to {platform.targets[0]}"):
        check(platform, other)
    manifest = replace(embedded.manifest, target=platform.targets[0], family="banana-split")
    with pytest.raises(ArtifactError, match="no procedure for this family.*banana-split"):
        check(platform, write_artifact(tmp_path / "third", manifest, files))
    settings = {name: value for name, value in embedded.manifest.settings.items() if name != "strip_pixels"}
    manifest = replace(embedded.manifest, target=platform.targets[0], settings=settings)
    with pytest.raises(ArtifactError, match="lacks settings.*strip_pixels.*convert the model again"):
        check(platform, write_artifact(tmp_path / "old", manifest, files))


def test_templates_are_filled_and_nothing_is_left_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "templates" / "paper" / "{{module}}").mkdir(parents=True)
    (tmp_path / "templates" / "paper" / "{{module}}" / "a.txt").write_text("{{module}} and ${x} {y}")
    (tmp_path / "templates" / "paper" / "raw.bin").write_bytes(b"\xff{{module}}")
    monkeypatch.setattr(templates, "TEMPLATES", tmp_path / "templates")
    templates.copy("paper", tmp_path / "out", {"module": "Leaf"})
    assert (tmp_path / "out" / "Leaf" / "a.txt").read_text() == "Leaf and ${x} {y}"
    assert (tmp_path / "out" / "raw.bin").read_bytes() == b"\xff{{module}}"
    with pytest.raises(NanoedgeError, match="not there.*module"):
        templates.copy("paper", tmp_path / "out", {})
    with pytest.raises(NanoedgeError, match="doesn't ask.*ink"):
        templates.copy("paper", tmp_path / "out", {"module": "Leaf", "ink": "blue"})


def test_the_verb_lists_platforms_and_prints_sizes(tmp_path: Path) -> None:
    shown = CliRunner().invoke(export_command, ["--help"])
    assert all(name in shown.output for name in plugins.names(KIND))
    assert sizes.table(sizes.measured(tmp_path)).endswith("| **all** | 0 | 0 | 0 |")
    unknown = CliRunner().invoke(export_command, ["abacus", "nano-banana", "-o", str(tmp_path / "x")])
    assert unknown.exit_code != 0 and "abacus" in unknown.output
