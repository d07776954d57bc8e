"""`nanoedge inspect` and `nanoedge verify`: the embedded artifact, damaged copies of it, tiny graphs with faults."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime import engines, inspection, plugins
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.canonical_json import CONTROL_CHARACTER
from edge_runtime.editor import EMBEDDED
from edge_runtime.errors import EngineError, MissingExtraError
from edge_runtime.manifest import Component, DataFile, Manifest
from edge_runtime.tensors import TensorSpec
from tests.edge_runtime.test_cli import nanoedge

X = TensorSpec(name="x", dtype="float32", shape=("rows", 3))
Y = replace(X, name="y")
NUMBERS = Component(name="numbers", file="numbers.onnx", precision="fp32", inputs=(X,), outputs=(Y,), note="für alle")
TOKENIZER = Component(name="tokenizer", file="tokenizer.json", precision="none")


def graph(*operators: str, rows: int | str = "rows", dtype: int = TensorProto.FLOAT) -> bytes:
    """y = the operators on x, one after another."""
    names = ["x", *(f"step{index}" for index in range(1, len(operators))), "y"]
    nodes = [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(operators)]
    values = [helper.make_tensor_value_info(name, dtype, [rows, 3]) for name in ("x", "y")]
    tiny = helper.make_graph(nodes, "tiny", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18)]
    return bytes(onnx.ModelProto.SerializeToString(helper.make_model(tiny, opset_imports=opsets, ir_version=9)))


def written(folder: Path, content: bytes, component: Component = NUMBERS, **changes: object) -> Artifact:
    """An artifact of one graph and a tokenizer."""
    members = {"family": "tiny", "name": "tiny", "target": "onnx", "recipe": "fp32", **changes}
    manifest = Manifest(components=(component, TOKENIZER), **members)
    return write_artifact(folder / "tiny", manifest, {component.name: content, "tokenizer": b'{"a": 1}'})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "copy"))


def rewritten(folder: Path, name: str, **changes: object) -> None:
    """Change what the manifest says of a component; its digest stays right."""
    file = folder / "manifest.json"
    manifest = Manifest.decode(file.read_bytes())
    parts = [replace(part, **changes) if part.name == name else part for part in manifest.components]
    file.write_bytes(replace(manifest, components=tuple(parts)).encode())


def statuses(checks: Sequence[inspection.Check]) -> dict[str, str]:
    return {check.component: check.status for check in checks}


# --- inspect ---------------------------------------------------------------------------------------------------


def test_inspect_says_what_the_embedded_artifact_is() -> None:
    done = nanoedge("inspect")
    assert (done.returncode, done.stderr) == (0, "")
    manifest = Artifact.open(EMBEDDED).manifest
    for component in manifest.components:
        assert component.file in done.stdout
        for spec in (*component.inputs, *component.outputs):
            assert f"({', '.join(map(str, spec.shape))})" in done.stdout
    for text in (manifest.provenance["checkpoint_sha256"], manifest.provenance["licence"], "mask iou", " dB"):
        assert text in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= inspection.WIDTH


def test_inspect_as_json() -> None:
    found = json.loads(nanoedge("inspect", EMBEDDED, "--json").stdout)
    artifact = Artifact.open(EMBEDDED)
    assert found["version"] == artifact.version
    assert found["components"] == [component.to_json() for component in artifact.manifest.components]
    assert found["bytes"] == sum(component.bytes for component in artifact.manifest.components)
    assert found["quality"] == artifact.manifest.quality and found["provenance"] == artifact.manifest.provenance


def test_figures_of_any_kind_are_printed_with_their_units(tmp_path: Path) -> None:
    measured = {"y.snr_db": 41.25, "y.peak_bytes": 1200, "run_ms": 3.14159, "agreement": 1.0, "precision": "fp32"}
    artifact = written(tmp_path, graph("Neg"), quality={"numbers": measured, "whole": 0.5, "deep": {"a.b": {"c": [1]}}})
    lines = inspection.described(artifact).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("quality"))
    assert [" ".join(line.split()) for line in lines[start + 1 :]] == [
        "deep a b c [1]",
        "numbers all agreement 1, run 3.142 ms",
        "y peak 1200 bytes, snr 41.25 dB",
        "whole all 0.5",
    ]


def test_a_long_note_is_wrapped(tmp_path: Path) -> None:
    artifact = written(tmp_path, graph("Neg"), replace(NUMBERS, note="sehr lang " * 40))
    text = inspection.described(artifact)
    lines = text.splitlines()[1:]  # the first has the folder, which may be long
    assert text.count("sehr lang") > 30 and max(map(len, lines)) <= inspection.WIDTH


def test_strings_of_a_manifest_can_not_command_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;evil\x07\n\x9b2J"
    origin = {"source": evil, "tools": {"torch": evil}, "list": [evil]}
    folder = written(tmp_path, graph("Neg"), provenance=origin, quality={"numbers": {"comment": evil}}).folder
    for arguments in ((), ("--json",)):
        done = nanoedge("inspect", folder, *arguments)
        assert done.returncode == 0 and "evil" in done.stdout
        assert not any(CONTROL_CHARACTER.search(line) for line in done.stdout.split("\n"))


def test_the_peak_of_an_edit_is_predicted_for_a_model_that_paints(tmp_path: Path) -> None:
    needs = {"numbers": {"opened": 400_000_000, "work": [[512 * 512, 1000, 100_000_000]]}}
    settings = {"memory": needs, "size": {"multiple": 16, "area": 512 * 512}}
    folder = written(tmp_path, graph("Neg"), settings=settings).folder
    lines = [" ".join(line.split()) for line in nanoedge("inspect", folder).stdout.splitlines()]
    at = lines.index("memory MB peak of an edit at 512 x 512 pixels, predicted")
    found = json.loads(nanoedge("inspect", folder, "--json").stdout)["peak"]
    assert (found["width"], found["height"]) == (512, 512)
    assert 600e6 < found["one_at_a_time"] == found["together"] < 660e6  # there is one part
    assert lines[at + 1] == f"to spare {found['together'] / 1e6:,.0f} all parts stay open"
    assert lines[at + 2].startswith(f"short {found['one_at_a_time'] / 1e6:,.0f} one part at a time")


def test_nothing_is_said_of_memory_where_nothing_is_known() -> None:
    assert "memory" not in nanoedge("inspect").stdout
    assert json.loads(nanoedge("inspect", "--json").stdout)["peak"] is None


def test_data_files_are_listed_and_counted(tmp_path: Path) -> None:
    component = replace(NUMBERS, data=(DataFile(file="numbers.data"), DataFile(file="more.data")))
    manifest = Manifest(family="tiny", name="tiny", target="onnx", recipe="fp32", components=(component, TOKENIZER))
    content = graph("Neg")
    files = {"numbers": content, "numbers.data": b"x" * 5_000_000, "more.data": b"y" * 2000, "tokenizer": b"{}"}
    artifact = write_artifact(tmp_path / "tiny", manifest, files)
    lines = [" ".join(line.split()) for line in nanoedge("inspect", artifact.folder).stdout.splitlines()]
    total = len(content) + 5_002_002
    assert "data 5.000 numbers.data" in lines and "data 0.002 more.data" in lines
    assert f"total {total / 1e6:.3f} 4 files" in lines
    found = json.loads(nanoedge("inspect", artifact.folder, "--json").stdout)
    assert found["bytes"] == total
    assert [part["file"] for part in found["components"][0]["data"]] == ["numbers.data", "more.data"]
    done = nanoedge("verify", artifact.folder)
    assert done.returncode == 0
    assert f"4 files, {total / 1e6:.3f} MB, all sizes and digests as in the manifest" in done.stdout
    flip(artifact.folder / "more.data")
    assert nanoedge("inspect", artifact.folder).returncode == 0
    damaged = nanoedge("verify", artifact.folder)
    assert damaged.returncode == 4 and "more.data" in damaged.stderr


# --- verify ----------------------------------------------------------------------------------------------------


def test_verify_runs_every_graph_of_the_embedded_artifact() -> None:
    done = nanoedge("verify")
    components = Artifact.open(EMBEDDED).manifest.components
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [component.name for component in components]
    assert f"{len(components)} of {len(components)}: {components[-1].name}" in done.stderr
    assert "failed" not in done.stdout


def test_verify_as_json(tmp_path: Path) -> None:
    done = nanoedge("verify", written(tmp_path, graph("Neg")).folder, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["ok"] is True
    assert [(entry["component"], entry["status"]) for entry in found["components"]] == [
        ("numbers", "ok"), ("tokenizer", "ok"),
    ]  # fmt: skip
    assert found["components"][0]["seconds"] > 0 and found["components"][1]["seconds"] is None


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "vision.onnx has the wrong SHA-256"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "vision.onnx has the wrong size"),
        (Path.unlink, "vision.onnx can't be read"),
    ],
    ids=["byte", "truncated", "missing"],
)
def test_a_damaged_file_is_one_clear_line(copy: Path, damage: object, message: str) -> None:
    damage(copy / "vision.onnx")
    done = nanoedge("verify", copy)
    assert (done.returncode, done.stdout) == (4, "")
    assert message in done.stderr and "copy" in done.stderr and done.stderr.count("\n") == 1


def test_inspect_checks_sizes_but_reads_no_digests(copy: Path) -> None:
    flip(copy / "vision.onnx")
    assert nanoedge("inspect", copy).returncode == 0
    (copy / "vision.onnx").write_bytes(b"short")
    assert nanoedge("inspect", copy).returncode == 4


def test_a_manifest_that_promises_another_shape(copy: Path) -> None:
    (subject, *others) = Artifact.open(copy).manifest.component("vision").outputs
    rewritten(copy, "vision", outputs=(replace(subject, shape=(1, 1, 256, 255)), *others))
    done = nanoedge("verify", copy)
    failed = [line for line in done.stdout.splitlines() if "failed" in line]
    assert len(failed) == 1 and failed[0].startswith("vision ")
    assert "(1, 1, 256, 256)" in failed[0] and "(1, 1, 256, 255)" in failed[0]
    assert done.returncode == 5 and "1 of 9 components failed. Got vision." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "change", "message"),
    [
        (graph("Neg", "Log"), {}, "Output y is not finite. Got 48 of 48 values"),
        (graph("Neg", rows=5), {}, "Got: 16 Expected: 5"),
        (graph("Neg"), {"inputs": (replace(X, shape=("rows", 3, 1)),)}, "Got: 3 Expected: 2"),
        (graph("Neg"), {"inputs": (replace(X, shape=("rows", 4)),)}, "can't run numbers"),
        (graph("Neg"), {"inputs": (replace(X, name="photo"),)}, "inputs of numbers differ"),
        (graph("Neg", dtype=TensorProto.DOUBLE), {}, "inputs of numbers differ"),
        (graph("Neg"), {"outputs": (replace(Y, shape=("rows",)),)}, "wrong dtype or shape"),
        (graph("Neg"), {"inputs": (replace(X, shape=(2**31 - 1, 2**31 - 1)),)}, "too large to try"),
        (b"not a graph", {}, "not an ONNX file"),
    ],
    ids=["NaN", "fixed", "rank", "size", "name", "dtype", "output", "too large", "no graph"],
)
def test_what_fails_is_named_and_the_rest_is_checked(
    tmp_path: Path, content: bytes, change: dict[str, object], message: str
) -> None:
    checks = inspection.verify(written(tmp_path, content, replace(NUMBERS, **change)))
    assert statuses(checks) == {"numbers": "failed", "tokenizer": "ok"}
    assert message in checks[0].problem and "\n" not in checks[0].problem
    with pytest.raises(EngineError, match="1 of 2 components failed. Got numbers"):
        inspection.require(checks)


def test_a_component_that_fails_shows_in_the_exit_code_and_in_json(tmp_path: Path) -> None:
    done = nanoedge("verify", written(tmp_path, graph("Neg", "Log")).folder, "--json")
    assert done.returncode == 5 and "Got numbers" in done.stderr
    assert json.loads(done.stdout)["ok"] is False


def test_a_constant_output_is_remarked_upon(tmp_path: Path) -> None:
    checks = inspection.verify(written(tmp_path, graph("Ceil")))  # of numbers above 0 and below 1
    assert statuses(checks) == {"numbers": "ok", "tokenizer": "ok"}
    assert "output y is 1 everywhere" in str(checks[0])
    inspection.require(checks)


def test_a_target_that_no_engine_runs(tmp_path: Path) -> None:
    folder = written(tmp_path, graph("Neg"), target="abacus").folder
    assert nanoedge("inspect", folder).returncode == 0
    done = nanoedge("verify", folder)
    assert done.returncode == 5 and "abacus" in done.stderr and "onnx" in done.stderr


def test_an_engine_without_its_library_matters_only_to_its_own_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "abacus.py").write_text("import a_library_that_nobody_has")
    places = [*engines.__path__, str(tmp_path)]
    monkeypatch.setattr(engines, "__path__", places)
    monkeypatch.setattr(engines.__spec__, "submodule_search_locations", places)
    assert plugins.names("engines")[0] == "abacus"
    artifact = written(tmp_path, graph("Neg"))
    assert statuses(inspection.verify(artifact)) == {"numbers": "ok", "tokenizer": "ok"}
    other = replace(artifact, manifest=replace(artifact.manifest, target="abacus"))
    with pytest.raises(MissingExtraError, match="a_library_that_nobody_has"):
        inspection.verify(other)


def test_inputs_are_the_same_every_time_and_agree_about_symbols() -> None:
    specs = (
        TensorSpec(name="image", dtype="uint8", shape=(1, "height", "width", 4)),
        TensorSpec(name="mask", dtype="float16", shape=("height", "width")),
        TensorSpec(name="amounts", dtype="float32", shape=("regions", 60)),
        TensorSpec(name="tokens", dtype="int64", shape=(1, "tokens")),
        TensorSpec(name="seen", dtype="bool", shape=()),
    )
    component = replace(NUMBERS, inputs=specs)
    inputs, again = inspection.example_inputs(component), inspection.example_inputs(component)
    shapes = {name: array.shape for name, array in inputs.items()}
    assert shapes == {"image": (1, 16, 16, 4), "mask": (16, 16), "amounts": (2, 60), "tokens": (1, 16), "seen": ()}
    for spec in specs:
        spec.check(inputs[spec.name])
        np.testing.assert_array_equal(inputs[spec.name], again[spec.name])
    assert inputs["amounts"].min() >= 0 and inputs["amounts"].max() <= 1 and (inputs["tokens"] == 1).all()
