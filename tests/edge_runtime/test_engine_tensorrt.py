"""The TensorRT engine: what it says without a GPU, and its own steps over stand-ins for TensorRT and the driver.

The stand-ins (gpu_stand_in) show that the engine builds once, keeps to its profiles, hands tensors on and frees what it
takes; of NVIDIA's parts they show nothing. What those make of real graphs is in tests/converters/typed_graphs.
"""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import cuda_driver
from edge_runtime.blocks import CONTENTS, Block, Profile, contents
from edge_runtime.cuda_driver import CudaDevice
from edge_runtime.engine import engine_for
from edge_runtime.engines import tensorrt
from edge_runtime.errors import EngineError
from edge_runtime.manifest import Component, DataFile
from edge_runtime.tensors import TensorSpec

STAND_IN = Path(__file__).parent / "gpu_stand_in"
ROWS = Profile(smallest=(1, 2), best=(4, 2), largest=(8, 2))
PICTURE = TensorSpec(name="picture", dtype="float32", shape=("rows", 2))
DOUBLED, RESULT = (TensorSpec(name=name, dtype="float32", shape=("rows", 2)) for name in ("doubled", "result"))
FILES = ("1.onnx", "2.onnx")


def test_without_tensorrt_the_error_says_what_to_do(tmp_path):
    if importlib.util.find_spec(tensorrt.LIBRARY):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EngineError, match=r"not installed.*no package tensorrt.*10\.3 or newer.*JetPack.*onnx"):
        engine_for("tensorrt").open(tmp_path / CONTENTS, described(), threads=1)


def test_another_device_is_refused(tmp_path):
    with pytest.raises(EngineError, match="GPU alone.*Got cpu.*cuda"):
        tensorrt.ENGINE.open(tmp_path / CONTENTS, described(), threads=1, device="cpu")


def test_without_a_driver_the_error_names_it():
    with pytest.raises(EngineError, match="no NVIDIA driver.*libnothing"):
        CudaDevice("libnothing.so.1")


def described() -> Component:
    data = tuple(DataFile(file=f"part.tensorrt/{name}") for name in FILES)
    return Component(
        name="part", file=f"part.tensorrt/{CONTENTS}", precision="fp32", inputs=(PICTURE,), outputs=(RESULT,), data=data
    )


@pytest.fixture
def library(monkeypatch, tmp_path):
    """The stand-in for TensorRT, in the place of the real one; engines are kept below the test's folder."""
    monkeypatch.syspath_prepend(STAND_IN)
    monkeypatch.delitem(sys.modules, tensorrt.LIBRARY, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    yield tensorrt.load_library()
    sys.modules.pop(tensorrt.LIBRARY, None)


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> str:
    """The stand-in for CUDA's driver, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the stand-in for CUDA's driver is in C: install a compiler (Debian: gcc)"
    made = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    command = [compiler, "-shared", "-fPIC", "-o", made, STAND_IN / "driver.c"]
    subprocess.run(command, check=True, capture_output=True)
    return str(made)


@pytest.fixture
def folder(library, driver, monkeypatch, tmp_path) -> Path:
    """A component of two blocks, with both stand-ins in place."""
    monkeypatch.setattr(cuda_driver.CudaDevice.__init__, "__defaults__", (driver,))
    folder = tmp_path / "part.tensorrt"
    folder.mkdir()
    (folder / FILES[0]).write_bytes(graph("picture", "doubled", b"Add"))
    (folder / FILES[1]).write_bytes(graph("doubled", "result", b"Mul"))
    blocks = [
        Block(file=FILES[0], inputs=(PICTURE,), outputs=(DOUBLED,), profiles={"picture": ROWS}),
        Block(file=FILES[1], inputs=(DOUBLED,), outputs=(RESULT,), profiles={"doubled": ROWS}),
    ]
    (folder / CONTENTS).write_bytes(contents(blocks))
    return folder


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return bytes([number << 3, content])
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def graph(reads: str, gives: str, operator: bytes) -> bytes:
    """Return ONNX, spelled by hand as edge_runtime's tests know no onnx: `gives = reads (operator) reads`."""
    shape = field(1, field(2, b"rows")) + field(1, field(1, 2))
    kind = field(2, field(1, field(1, 1) + field(2, shape)))
    node = field(1, reads.encode()) * 2 + field(2, gives.encode()) + field(4, operator)
    sides = field(11, field(1, reads.encode()) + kind) + field(12, field(1, gives.encode()) + kind)
    return field(1, 10) + field(8, field(2, 21)) + field(7, field(1, node) + field(2, b"g") + sides)


def opened(folder: Path):
    return tensorrt.ENGINE.open(folder / CONTENTS, described(), threads=1)


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_blocks_run_one_after_another_and_give_their_memory_back(folder, driver):
    held = ctypes.CDLL(driver).stand_in_held
    picture = np.arange(6, dtype=np.float32).reshape(3, 2)
    with opened(folder) as session:
        for _ in range(2):
            np.testing.assert_array_equal(session.run({"picture": picture})["result"], (2 * picture) ** 2)
    assert held() == 0


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_engines_are_built_once(folder, library):
    for _ in range(3):
        opened(folder).close()
    assert library.builds == len(FILES)


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_another_version_builds_again(folder, library):
    opened(folder).close()
    library.__version__ = "10.16.1"
    opened(folder).close()
    assert library.builds == 2 * len(FILES)


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_a_shape_beyond_the_profile_is_refused(folder, driver):
    refusal = r"No engine.*picture.*\(9, 2\).*\(1, 2\) to \(8, 2\)"
    with opened(folder) as session, pytest.raises(EngineError, match=refusal):
        session.run({"picture": np.zeros((9, 2), np.float32)})
    assert ctypes.CDLL(driver).stand_in_held() == 0


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_what_the_builder_says_is_in_the_error(folder):
    place = folder.rename(folder.with_name("impossible.tensorrt"))
    with pytest.raises(EngineError, match="can't build an engine of 1.onnx.*no room for any kernel.*--block-mb"):
        opened(place)


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_an_engine_that_does_not_open_is_an_error(folder, tmp_path):
    opened(folder).close()
    gpu = CudaDevice()
    block = Block(file=FILES[0], inputs=(PICTURE,), outputs=(DOUBLED,), profiles={"picture": ROWS})
    with pytest.raises(EngineError, match="engine of block 1.onnx can't be opened"):
        tensorrt._Run(tensorrt.load_library(), gpu, block, b"no engine")


@pytest.mark.slow  # a C compiler makes the driver's stand-in
def test_the_device_says_what_it_is_and_what_went_wrong(driver):
    gpu = CudaDevice(driver)
    assert (gpu.name, gpu.capability, gpu.driver.split()[0], gpu.stream) == ("Stand-in", "8.7", "12060", 0x51)
    with pytest.raises(EngineError, match="cuMemAlloc_v2 failed.*2 out of memory"):
        gpu.allocate(1 << 40)


def test_an_old_tensorrt_is_refused(library):
    library.__version__ = "8.6.1"
    with pytest.raises(EngineError, match=r"too old.*8\.6\.1.*10\.3"):
        tensorrt.load_library()
