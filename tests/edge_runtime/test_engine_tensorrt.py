"""The TensorRT engine without a GPU. What it builds is in tests/converters/typed_graphs; nothing here runs engines."""

import importlib.util
import sys

import pytest

from edge_runtime.cuda_driver import CudaDevice
from edge_runtime.engine import engine_for
from edge_runtime.engines import tensorrt
from edge_runtime.errors import EngineError
from edge_runtime.manifest import Component

COMPONENT = Component(name="vision", file="vision.tensorrt/blocks.json", precision="fp16")


def test_without_tensorrt_the_error_says_what_to_do(tmp_path):
    if importlib.util.find_spec(tensorrt.LIBRARY):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EngineError, match=r"not installed.*no package tensorrt.*10\.3 or newer.*JetPack.*onnx"):
        engine_for("tensorrt").open(tmp_path / "blocks.json", COMPONENT, threads=1)


def test_another_device_is_refused(tmp_path):
    with pytest.raises(EngineError, match="GPU alone.*Got cpu.*cuda"):
        tensorrt.ENGINE.open(tmp_path / "blocks.json", COMPONENT, threads=1, device="cpu")


def test_without_a_driver_the_error_names_it():
    with pytest.raises(EngineError, match="no NVIDIA driver.*libnothing"):
        CudaDevice("libnothing.so.1")


def test_an_old_tensorrt_is_refused(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("__version__ = '8.6.1'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, tensorrt.LIBRARY, raising=False)
    with pytest.raises(EngineError, match=r"too old.*8\.6\.1.*10\.3"):
        tensorrt.load_library()
    sys.modules.pop(tensorrt.LIBRARY, None)
