"""What running an engine needs of CUDA: the driver's own C interface, which comes with every NVIDIA driver.

https://docs.nvidia.com/cuda/cuda-driver-api/. The driver keeps this interface for good, and no package is needed.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_runtime.errors import EngineError
from edge_runtime.tensors import Tensor

LIBRARY: Final = "libcuda.so.1"
VERSION_FILE: Final = Path("/proc/driver/nvidia/version")

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME_BYTES: Final = 256


class CudaDevice:
    """The first GPU of this process, its primary context and one stream. Addresses are those of its memory."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Raises EngineError when there is no driver or no GPU."""
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise EngineError(
                "there is no NVIDIA driver here", got=error, allowed=library, hint="run this on the device itself"
            ) from error
        self._device, self._context, self._stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.use()
        self._call("cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(0))

    @property
    def stream(self) -> int:
        """The handle of the stream that engines run on."""
        return int(self._stream.value or 0)

    @property
    def name(self) -> str:
        """The GPU's name, such as `Orin`."""
        text = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", text, ctypes.c_int(_NAME_BYTES), self._device)
        return text.value.decode("utf-8", "replace")

    @property
    def capability(self) -> str:
        """The compute capability, such as `8.7`."""
        return ".".join(str(self._attribute(number)) for number in (_MAJOR, _MINOR))

    @property
    def driver(self) -> str:
        """The driver: the CUDA version that it offers, and its own where the system tells it."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        own = VERSION_FILE.read_text(encoding="utf-8").partition("\n")[0] if VERSION_FILE.exists() else ""
        return f"{version.value} {own}".strip()

    def use(self) -> None:
        """Make the context that of the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size_bytes: int) -> int:
        """Return the address of so many bytes, to be freed by the caller."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size_bytes, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, array: Tensor) -> None:
        """Copy a tensor to the GPU."""
        dense = np.ascontiguousarray(array)
        source, size = ctypes.c_void_p(dense.ctypes.data), ctypes.c_size_t(dense.nbytes)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, size)

    def download(self, address: int, array: Tensor) -> None:
        """Fill a dense tensor from the GPU."""
        target, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoH_v2", target, ctypes.c_uint64(address), size)

    def wait(self) -> None:
        """Wait until the stream has done all it was given."""
        self._call("cuStreamSynchronize", self._stream)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        """Call the driver; raises EngineError with its own word for what went wrong."""
        code = getattr(self._cuda, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            raise EngineError(
                f"CUDA's {name} failed", got=f"{code} {(text.value or b'').decode('utf-8', 'replace')}".strip(),
                hint="is the GPU there, and is there memory left on it?",
            )  # fmt: skip
