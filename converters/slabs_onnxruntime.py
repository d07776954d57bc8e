"""Rounds large weight matrices to 4 bits with ONNX Runtime's own kernel: plain rounding with zero points, and no torch.

The kernel is that of its `MatMulNBitsQuantizer`, which is given a slab of the matrix at a time here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime.capi import _pybind_state as kernels

from converters.recipe import WeightScheme
from converters.slabs import Rounded, code_dtype, decibels
from converters.source import Rows

SLAB_VALUES: Final = 1 << 20
"""Weights in float32 that are worked on at once: enough to keep the kernel's threads busy."""


def is_done(scheme: WeightScheme, shape: tuple[int, int]) -> bool:
    """Tell whether the kernel knows the scheme, and codes stay apart from row to row of (inputs, outputs)."""
    inputs, outputs = shape
    plain = scheme.bits == 4 and scheme.zero_points and not scheme.searched and not scheme.rank
    return plain and scheme.group_size is not None and inputs % scheme.group_size == 0 and outputs % 2 == 0


def round_plainly(rows: Rows, shape: tuple[int, int], scheme: WeightScheme) -> Rounded:
    """Round float32 (inputs, outputs), `shape`, read by rows as they are needed."""
    inputs, outputs = shape
    group = scheme.group_size
    assert group is not None
    codes = np.zeros((inputs, outputs // 2), np.uint8)
    scales = np.zeros((inputs // group, outputs), np.float32)
    zeros = np.zeros((inputs // group, outputs // 2), np.uint8)
    step = group * max(1, SLAB_VALUES // (group * outputs))
    signal = noise = 0.0
    for start in range(0, inputs, step):
        stop = min(inputs, start + step)
        slab = np.ascontiguousarray(rows(start, stop), np.float32)
        blocks = slice(start // group, stop // group)
        part = codes[start:stop], scales[blocks], zeros[blocks]
        kernels.quantize_qdq_matmul_4bits(part[0], slab, *part[1:], group, outputs, stop - start, False)
        lost = _restored(*part, group)
        lost -= slab
        signal, noise = signal + float(np.vdot(slab, slab)), noise + float(np.vdot(lost, lost))
    return Rounded(
        codes=codes.ravel(),
        scales=scales,
        zero_points=zeros.ravel(),
        dtype=code_dtype(scheme),
        shape=shape,
        snr_db=decibels(signal, noise),
    )


def _restored(
    codes: NDArray[np.uint8], scales: NDArray[np.float32], zeros: NDArray[np.uint8], group: int
) -> NDArray[np.float32]:
    """Return float32 (rows, outputs) as a runtime computes with it."""
    grouped = _unpacked(codes).reshape(-1, group, scales.shape[1])
    grouped -= _unpacked(zeros)[:, None]
    grouped *= scales[:, None]
    return grouped.reshape(-1, scales.shape[1])


def _unpacked(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (rows, outputs) of two codes to a byte, the first in the low half."""
    wide = np.empty((len(codes), 2 * codes.shape[1]), np.float32)
    wide[:, 0::2] = codes & 15
    wide[:, 1::2] = codes >> 4
    return wide
