"""The ONNX Runtime engine on tiny real graphs."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime import plugins
from edge_runtime.engine import CheckedSession
from edge_runtime.engines.onnxruntime import LARGE_RUN_BYTES, _check_active
from edge_runtime.errors import EngineError
from edge_runtime.manifest import Component
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
