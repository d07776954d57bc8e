"""The table of contents of a component in blocks, and how its blocks are run."""

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.blocks import CONTENTS, MOST_BLOCKS, Block, Profile, contents, read_blocks, run_in_order
from edge_runtime.canonical_json import decode, encode
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.manifest import Component, DataFile
from edge_runtime.tensors import TensorSpec

PROFILE = Profile(smallest=(1, 2), best=(4, 2), largest=(8, 2))


def tensor(name: str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("rows", 2))


def block(file: str, reads: tuple[str, ...], gives: tuple[str, ...]) -> Block:
    return Block(
        file=file, inputs=tuple(map(tensor, reads)), outputs=tuple(map(tensor, gives)),
        profiles=dict.fromkeys(reads, PROFILE),
    )  # fmt: skip


FIRST = block("1.onnx", ("a", "b"), ("sum", "early"))
SECOND = block("2.onnx", ("a", "sum"), ("result",))


def component(*files: str) -> Component:
    return Component(
        name="denoiser", file=f"denoiser.tensorrt/{CONTENTS}", precision="fp16",
        inputs=(tensor("a"), tensor("b")), outputs=(tensor("result"), tensor("early")),
        data=tuple(DataFile(file=f"denoiser.tensorrt/{file}") for file in files or ("1.onnx", "2.onnx")),
    )  # fmt: skip


def written(folder: Path, *blocks: Block) -> Path:
    path = folder / CONTENTS
    path.write_bytes(contents(blocks or (FIRST, SECOND)))
    return path


def test_what_is_written_is_read(tmp_path):
    assert read_blocks(written(tmp_path), component()) == (FIRST, SECOND)


def test_blocks_run_in_order_and_hand_on_what_others_read():
    seen: list[set[str]] = []

    def first(inputs):
        seen.append(set(inputs))
        return {"sum": inputs["a"] + inputs["b"], "early": inputs["a"] - 1}

    def second(inputs):
        seen.append(set(inputs))
        return {"result": inputs["sum"] * inputs["a"]}

    given = {"a": np.full((3, 2), 2.0, np.float32), "b": np.ones((3, 2), np.float32)}
    found = run_in_order(component(), (FIRST, SECOND), (first, second), given)
    assert seen == [{"a", "b"}, {"a", "sum"}]
    assert {name: float(array[0, 0]) for name, array in found.items()} == {"result": 6.0, "early": 1.0}


@pytest.mark.parametrize(
    ("blocks", "files", "message"),
    [
        ((FIRST, SECOND), ("1.onnx",), "not its files.*1.onnx, 2.onnx"),
        ((FIRST, FIRST), ("1.onnx", "2.onnx"), "not its files"),
        ((SECOND,), ("2.onnx",), "2.onnx.*reads what no block gives.*sum"),
        ((FIRST,), ("1.onnx",), "No block.*gives an output.*result"),
        (
            tuple(block(f"{number}.onnx", ("a",), ("early", "result")) for number in range(MOST_BLOCKS + 1)),
            tuple(f"{number}.onnx" for number in range(MOST_BLOCKS + 1)),
            f"1 to {MOST_BLOCKS}",
        ),
    ],
)
def test_blocks_that_are_no_chain_are_refused(tmp_path, blocks, files, message):
    with pytest.raises(EngineError, match=message):
        read_blocks(written(tmp_path, *blocks), component(*files))


def test_a_file_of_another_component_is_refused(tmp_path):
    outside = block("../vision.tensorrt/1.onnx", ("a",), ("early", "result"))
    with pytest.raises(EngineError, match="not its files"):
        read_blocks(written(tmp_path, outside), component())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: {**data, "format": 2}, "another format.*2.*Allowed: 1"),
        (lambda data: {**data, "more": 1}, "can't be read"),
        (lambda data: {**data, "blocks": []}, "not its files"),
        (lambda data: {**data, "blocks": [{**data["blocks"][0], "profiles": {}}]}, "profiles and inputs differ"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, change, message):
    path = written(tmp_path)
    path.write_bytes(encode(change(decode(path.read_bytes()))))
    with pytest.raises(EngineError, match=message):
        read_blocks(path, component())


@pytest.mark.parametrize(
    "shapes", [((1,), (0,), (2,)), ((1,), (3,), (2,)), ((1,), (1, 1), (1,)), ((True,), (1,), (1,))]
)
def test_profiles_rise(shapes):
    smallest, best, largest = shapes
    with pytest.raises(ArtifactError, match="profile"):
        Profile(smallest=smallest, best=best, largest=largest)
