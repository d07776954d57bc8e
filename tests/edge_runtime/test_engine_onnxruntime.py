"""The ONNX Runtime engine on tiny real graphs."""

import gc
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_runtime import plugins
from edge_runtime.artifact import Artifact
from edge_runtime.artifact_writer import write_artifact
from edge_runtime.engine import LARGE_RUN_BYTES, CheckedSession
from edge_runtime.engines.onnxruntime import UNPACKED_BYTES, _beginning, _check_active, _is_small_and_float
from edge_runtime.errors import EngineError
from edge_runtime.manifest import Component, DataFile, Manifest
from edge_runtime.tensors import TensorSpec

ENGINE = plugins.load("engines", "onnxruntime")
PHOTO = TensorSpec(name="photo", dtype="uint8", shape=(1, "height", "width", 3))
GAIN = TensorSpec(name="gain", dtype="float32", shape=())
EDITED = replace(PHOTO, name="edited")
COMPONENT = Component(name="render", file="render.onnx", precision="fp32", inputs=(PHOTO, GAIN), outputs=(EDITED,))


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def save(path, nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def render(tmp_path):
    """edited = photo * gain, for any size."""
    nodes = [
        helper.make_node("Cast", ["photo"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "gain"], ["product"]),
        helper.make_node("Cast", ["product"], ["edited"], to=TensorProto.UINT8),
    ]
    shape = [1, "height", "width", 3]
    inputs = [value("photo", TensorProto.UINT8, shape), value("gain", TensorProto.FLOAT, [])]
    return save(tmp_path / "render.onnx", nodes, inputs, [value("edited", TensorProto.UINT8, shape)])


def feeds(height=4, width=6, gain=2.0):
    return {"photo": np.full((1, height, width, 3), 21, np.uint8), "gain": np.array(gain, np.float32)}


def test_run_with_changing_sizes(render):
    large = int((LARGE_RUN_BYTES / 6) ** 0.5) + 1
    with ENGINE.open(render, COMPONENT, threads=2) as session:
        for height, width in ((4, 6), (large, large), (1, 1), (3, large)):
            edited = session.run(feeds(height, width))["edited"]
            assert edited.shape == (1, height, width, 3)
            assert edited.dtype == np.uint8
            assert (edited == 42).all()


def test_a_view_that_is_not_contiguous(render):
    photo = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)[1:, ::-1, ::2]
    with ENGINE.open(render, COMPONENT, threads=1) as session:
        np.testing.assert_array_equal(session.run({**feeds(gain=1.0), "photo": photo})["edited"], photo)


def test_threads_may_share_a_session(render):
    results = {}
    with ENGINE.open(render, COMPONENT, threads=1) as session:

        def work(gain):
            results[gain] = session.run(feeds(64, 64, gain))["edited"]

        workers = [threading.Thread(target=work, args=(gain,)) for gain in range(1, 9)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert {gain: int(edited.max()) for gain, edited in results.items()} == {gain: 21 * gain for gain in range(1, 9)}


def test_a_closed_session_refuses_and_closing_twice_is_fine(render):
    session = ENGINE.open(render, COMPONENT, threads=1)
    with session:
        pass
    session.close()
    with pytest.raises(EngineError, match="render is closed"):
        session.run(feeds())


def test_closing_drops_the_only_reference():
    class Run:
        def __call__(self, inputs):
            return {}

    run = Run()
    gone = weakref.ref(run)
    session = CheckedSession(replace(COMPONENT, inputs=(), outputs=()), run)
    del run
    assert session.run({}) == {}
    session.close()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "change",
    [
        {"photo": np.zeros((1, 4, 6, 3), np.float32)},
        {"photo": np.zeros((1, 4, 6, 4), np.uint8)},
        {"photo": [[1, 2, 3]]},
        {"gain": np.zeros(1, np.float32)},
        {"more": np.zeros(1, np.float32)},
    ],
    ids=["dtype", "channels", "list", "rank", "unknown"],
)
def test_inputs_that_do_not_fit(render, change):
    with ENGINE.open(render, COMPONENT, threads=1) as session, pytest.raises(EngineError, match="uint8|float32"):
        session.run({**feeds(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": (PHOTO,)}, "inputs of render differ"),
        ({"inputs": (PHOTO, replace(GAIN, dtype="float16"))}, "gain float32, photo uint8.*gain float16"),
        ({"inputs": (PHOTO, replace(GAIN, name="strength"))}, "strength float32"),
        ({"outputs": ()}, "outputs of render differ"),
        ({"outputs": (replace(EDITED, dtype="float32"),)}, "outputs of render differ"),
    ],
)
def test_a_graph_that_differs_from_the_component(render, change, message):
    with pytest.raises(EngineError, match=message):
        ENGINE.open(render, replace(COMPONENT, **change), threads=1)


def test_outputs_are_held_to_the_component(render):
    wrong = replace(COMPONENT, outputs=(replace(EDITED, shape=(1, "width", "height", 3)),))
    with ENGINE.open(render, wrong, threads=1) as session, pytest.raises(EngineError, match="width = 6"):
        session.run(feeds())


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x09\x3a\xff\xff\xff\xff\x0f", b"\x08\x09\x3a\x00"])
def test_a_file_that_is_not_a_graph(tmp_path, content, capfd):
    file = tmp_path / "render.onnx"
    file.write_bytes(content)
    with pytest.raises(EngineError, match="not an ONNX file|can't open render") as caught:
        ENGINE.open(file, COMPONENT, threads=1)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_a_missing_file(tmp_path):
    with pytest.raises(EngineError, match=r"nowhere\.onnx"):
        ENGINE.open(tmp_path / "nowhere.onnx", COMPONENT, threads=1)


def test_a_run_that_fails_in_the_graph(tmp_path, capfd):
    square = TensorSpec(name="x", dtype="float32", shape=("rows", "columns"))
    component = replace(
        COMPONENT, name="product", inputs=(square,), outputs=(replace(square, name="y", shape=("n", "n")),)
    )
    value_x = value("x", TensorProto.FLOAT, ["rows", "columns"])
    node = helper.make_node("MatMul", ["x", "x"], ["y"])
    file = save(tmp_path / "product.onnx", [node], [value_x], [value("y", TensorProto.FLOAT, None)])
    with ENGINE.open(file, component, threads=1) as session:
        with pytest.raises(EngineError, match="can't run product") as caught:
            session.run({"x": np.zeros((2, 3), np.float32)})
        assert session.run({"x": np.ones((2, 2), np.float32)})["y"].tolist() == [[2, 2], [2, 2]]
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin", "beside.bin"])
def test_weights_in_other_files_are_not_read(tmp_path, location):
    folder = tmp_path / "artifact"
    folder.mkdir()
    for name in ("secret.bin", "artifact/beside.bin"):
        np.arange(4, dtype=np.float32).tofile(tmp_path / name)
    (folder / "link.bin").symlink_to("../secret.bin")
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    shape = [value(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "thief", shape[:1], shape[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "thief.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match="weights in another file"):
        ENGINE.open(folder / "thief.onnx", COMPONENT, threads=1)


TABLE = np.arange(3000 * 256, dtype=np.float32).reshape(3000, 256)
BIAS = np.linspace(-1, 1, 256, dtype=np.float32)
LOOKUP = Component(
    name="lookup",
    file="graphs/lookup.onnx",
    precision="fp32",
    inputs=(TensorSpec(name="rows", dtype="int64", shape=("count",)),),
    outputs=(TensorSpec(name="found", dtype="float32", shape=("count", 256)),),
    data=(DataFile(file="graphs/lookup.data"),),
)


@pytest.fixture
def lookup(tmp_path):
    """An artifact whose graph, found = table[rows] + bias, keeps both tensors in a data file; written by onnx."""
    tensors = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(BIAS, "bias")]
    nodes = [
        helper.make_node("Gather", ["table", "rows"], ["raw"]),
        helper.make_node("Add", ["raw", "bias"], ["found"]),
    ]
    inputs, outputs = [value("rows", TensorProto.INT64, ["count"])], [value("found", TensorProto.FLOAT, ["count", 256])]
    graph = helper.make_graph(nodes, "lookup", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    source = tmp_path / "source"
    source.mkdir()
    onnx.save(model, source / "lookup.onnx", save_as_external_data=True, location="lookup.data", size_threshold=0)
    manifest = Manifest(family="tiny", name="tiny", target="onnx", recipe="fp32", components=(LOOKUP,))
    files = {"lookup": source / "lookup.onnx", "graphs/lookup.data": source / "lookup.data"}
    return write_artifact(tmp_path / "tiny", manifest, files)


def opened(artifact):
    return ENGINE.open(artifact.path("lookup"), artifact.manifest.component("lookup"), threads=1)


def assert_right(session):
    rows = np.array([0, 2999, 7])
    np.testing.assert_array_equal(session.run({"rows": rows})["found"], TABLE[rows] + BIAS)


def test_a_graph_with_its_tensors_in_a_data_file(lookup, tmp_path):
    part = lookup.manifest.component("lookup")
    assert part.bytes < 2000 and part.data[0].bytes >= TABLE.nbytes + BIAS.nbytes
    with opened(Artifact.open(lookup.folder)) as session:
        assert_right(session)
    (tmp_path / "elsewhere").mkdir()
    moved = lookup.folder.rename(tmp_path / "elsewhere" / "other")
    with opened(Artifact.open(moved)) as session:
        assert_right(session)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_data_file_is_mapped_into_memory(lookup):
    def mapped():
        return "graphs/lookup.data" in Path("/proc/self/maps").read_text()

    with opened(lookup) as session:
        assert mapped()
        assert_right(session)
    del session
    gc.collect()
    assert not mapped()


INPUTS, OUTPUTS = 4096, 8192
PRODUCT = Component(
    name="product", file="product.onnx", precision="int8",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("rows", INPUTS)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("rows", OUTPUTS)),),
    data=(DataFile(file="product.data"),),
)  # fmt: skip


@pytest.fixture
def product(tmp_path):
    """A product of 8-bit integers, as conversion writes them, with 32 MB of codes."""
    codes = np.random.default_rng(0).integers(-64, 64, (INPUTS, OUTPUTS), np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["row", "step", "zero"]),
        helper.make_node("MatMulInteger", ["row", "codes", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "step"], ["y"]),
    ]
    inputs, outputs = (
        [value(name, TensorProto.FLOAT, ["rows", size])] for name, size in (("x", INPUTS), ("y", OUTPUTS))
    )
    graph = helper.make_graph(nodes, "product", inputs, outputs, [numpy_helper.from_array(codes, "codes")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "product.onnx"
    onnx.save(model, path, save_as_external_data=True, location="product.data", size_threshold=1024)
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_what_runs_seldom_keeps_its_weights_in_the_file(product):
    x = np.random.default_rng(1).standard_normal((7, INPUTS)).astype(np.float32)
    results = []
    for seldom in (True, False):
        with ENGINE.open(product, PRODUCT, threads=2, seldom=seldom) as session:
            results.append(session.run({"x": x})["y"])
            # once they are arranged for the processor, in memory of their own, the file isn't needed any more
            assert (str(product.parent) in Path("/proc/self/maps").read_text()) == seldom
        del session
        gc.collect()
    np.testing.assert_array_equal(*results)


def test_a_data_file_that_the_component_does_not_name(lookup):
    part = replace(lookup.manifest.component("lookup"), data=())
    with pytest.raises(EngineError, match="weights in another file"):
        ENGINE.open(lookup.path("lookup"), part, threads=1)


SPOILS = {
    "missing": (lambda file: file.unlink(), "can't be used"),
    "folder": (lambda file: file.unlink() or file.mkdir(), "can't be used"),
    "link": (lambda file: file.rename(file.parents[2] / "out") and file.symlink_to("../../out"), "can't be used"),
    "shorter": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "wrong size"),
    "longer": (lambda file: file.write_bytes(file.read_bytes() + b"x"), "wrong size"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILS.values(), ids=SPOILS.keys())
def test_a_data_file_that_changed_after_the_check(lookup, spoil, message):
    spoil(lookup.folder / "graphs" / "lookup.data")
    with pytest.raises(EngineError, match=message):
        opened(lookup)


def test_a_graph_that_asks_for_more_than_its_data_file_has(lookup):
    data = lookup.path("lookup").with_name("lookup.data")
    data.write_bytes(data.read_bytes()[:-1])
    unmeasured = replace(lookup.manifest.component("lookup"), data=LOOKUP.data)
    with pytest.raises(EngineError, match="data files have none"):
        ENGINE.open(lookup.path("lookup"), unmeasured, threads=1)


def test_unpacking_counts_the_data_files(tmp_path):
    graph = tmp_path / "small.onnx"
    graph.write_bytes(b"x" * 100)
    assert _is_small_and_float(graph, _beginning(graph), UNPACKED_BYTES - 100)
    assert not _is_small_and_float(graph, _beginning(graph), UNPACKED_BYTES - 99)
    assert not _is_small_and_float(graph, b"a QuantizeLinear", 0)


def test_of_a_graph_with_its_tensors_inside_only_the_nodes_are_read(tmp_path):
    large = numpy_helper.from_array(np.zeros(UNPACKED_BYTES + 1, np.uint8), "large")
    node = helper.make_node("Identity", ["large"], ["y"])
    given = helper.make_tensor_value_info("y", TensorProto.UINT8, None)
    graph = helper.make_graph([node], "same", [], [given], [large])
    onnx.save(helper.make_model(graph), tmp_path / "large.onnx")
    found = _beginning(tmp_path / "large.onnx")
    assert len(found) == UNPACKED_BYTES and b"Identity" in found


def test_the_format_is_not_guessed_from_the_name(render):
    renamed = render.rename(render.with_suffix(".ort"))
    with ENGINE.open(renamed, COMPONENT, threads=1) as session:
        assert session.run(feeds())["edited"].max() == 42


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_out_of_range(render, threads):
    with pytest.raises(EngineError, match="1 or more"):
        ENGINE.open(render, COMPONENT, threads=threads)


def test_an_unknown_device(render):
    with pytest.raises(EngineError, match="Got abacus. Allowed: .*cpu"):
        ENGINE.open(render, COMPONENT, threads=1, device="abacus")


@pytest.mark.parametrize("active", [["CPUExecutionProvider"], ["CPUExecutionProvider", "CUDAExecutionProvider"], []])
def test_another_device_than_the_one_asked_for_is_an_error(active):
    _check_active(["CUDAExecutionProvider", "CPUExecutionProvider"], "CUDAExecutionProvider")
    with pytest.raises(EngineError, match="another device"):
        _check_active(active, "CUDAExecutionProvider")
