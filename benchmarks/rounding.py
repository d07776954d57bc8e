"""How much do 4-bit weights lose? Our ways to round matrices beside those of onnxruntime and bitsandbytes.

    OMP_NUM_THREADS=1 python -m benchmarks.rounding [--size 1024]

Signal to noise of the weights, and of what comes out for normally distributed inputs, in dB: more is better. The
weights are normally distributed, heavy-tailed (Student's t with 4 degrees of freedom), and the linear layers of
nano-banana's text network.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import bitsandbytes.functional
import numpy as np
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    DefaultWeightOnlyQuantizer,
    HQQWeightOnlyQuantConfig,
    HQQWeightOnlyQuantizer,
)
from onnxruntime.quantization.neural_compressor.weight_only import pad_tensor, quant_tensor_k_quant_cpu
from safetensors.numpy import load_file

from benchmarks.table import markdown
from converters.low_rank import pays_off, split_weight
from converters.nf4 import restore_nf4, round_nf4
from converters.recipe import Granularity, WeightScheme
from converters.rounding import restore_weight, round_weight
from converters.slabs import round_matrix
from converters.sources.nano_banana import CHECKPOINT
from converters.two_level import round_two_level, unpacked

Array = np.ndarray[Any, Any]
Rounded = tuple[Callable[[], Array], float]
"""What restores the float32 weight (inputs, outputs), and the bytes that its parts take in a file."""

BLOCK, NF4_BLOCK = 32, 64
INPUTS = 256
"""How many input vectors the outputs are compared on."""

TURNS = 3
"""Times are the shortest of so many, in one thread if the command says so."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One way to round, on all matrices of one kind. `seconds` are for a million weights."""

    weights_db: float
    outputs_db: float
    bytes_a_weight: float
    seconds: float


def with_integers(scheme: WeightScheme, weight: Array) -> Rounded:
    """Round as recipes with integers do."""
    if pays_off(weight.shape, scheme.rank):
        split = split_weight(weight, scheme)
        thin = split.left.nbytes + split.right.nbytes
        return (lambda: restore_weight(split.codes, split.scales, scheme) + split.left @ split.right,
                split.codes.size / 2 + split.scales.nbytes + thin)
    codes, scales = round_weight(weight, scheme)
    return lambda: restore_weight(codes, scales, scheme), codes.size / 2 + scales.nbytes


def with_zero_points(scheme: WeightScheme, weight: Array) -> Rounded:
    """Round as recipes with integers and zero points do."""
    rounded = round_matrix(np.ascontiguousarray(weight.T), scheme)
    assert rounded.zero_points is not None
    codes, zeros = (_halves(part)[: size] for part, size in
                    ((rounded.codes, weight.size), (rounded.zero_points, rounded.scales.size)))

    def restore() -> Array:
        zero, scale = (np.repeat(part.reshape(rounded.scales.shape), scheme.group_size or 1, axis=0)[: len(weight)]
                       for part in (zeros.astype(np.float32), rounded.scales))
        return (codes.reshape(weight.shape).astype(np.float32) - zero) * scale

    return restore, rounded.codes.nbytes + rounded.scales.nbytes + rounded.zero_points.nbytes


def with_two_levels(scheme: WeightScheme, weight: Array) -> Rounded:
    """Round as recipes do whose products are of 8 bits."""
    turned = np.ascontiguousarray(weight.T)
    rounded = round_two_level(lambda start, stop: turned[start:stop], (turned.shape[0], turned.shape[1]), scheme)
    return (lambda: unpacked(rounded.codes, rounded.blocks) * rounded.steps,
            rounded.codes.nbytes + rounded.blocks.nbytes + rounded.steps.nbytes)


def with_nf4(weight: Array) -> Rounded:
    """Round as the recipe nf4 does."""
    packed, largest = round_nf4(weight, NF4_BLOCK)
    return lambda: restore_nf4(packed, largest, weight.shape, NF4_BLOCK), packed.nbytes + largest.nbytes


def with_onnxruntime(weight: Array) -> Rounded:
    """Round to nearest with zero points, onnxruntime's default."""
    config = DefaultWeightOnlyQuantConfig(block_size=BLOCK)
    packed, scales, zeros = DefaultWeightOnlyQuantizer(config).qbits_block_quant(weight)
    outputs, blocks = scales.shape
    return (lambda: _restored(_halves(packed).reshape(outputs, blocks, BLOCK), scales,
                              _halves(zeros).reshape(outputs, -1)[:, :blocks], len(weight)),
            packed.nbytes + scales.nbytes + zeros.nbytes)


def with_k_quant(weight: Array) -> Rounded:
    """Round as onnxruntime's k_quant does, after ggml: scale and zero point are fitted, large weights count more."""
    blocks = -(-len(weight) // BLOCK)
    codes, scales, zeros = quant_tensor_k_quant_cpu(pad_tensor(weight, BLOCK, blocks).T, 4, BLOCK)
    shape = (weight.shape[1], blocks)
    return (lambda: _restored(codes.reshape(*shape, BLOCK), scales.reshape(shape), zeros.reshape(shape), len(weight)),
            codes.size / 2 + 4 * scales.size + zeros.size / 2)


def with_hqq(weight: Array, whole: bool = False) -> Rounded:
    """Round as onnxruntime's HQQ does (half-quadratic quantisation, Badri and Shaji 2023).

    Its zero points are float; `whole` rounds them to 4 bits too, and the weights once more with them.
    """
    quantizer = HQQWeightOnlyQuantizer(HQQWeightOnlyQuantConfig(block_size=BLOCK))
    parts = quantizer.quantize_internal(torch.from_numpy(weight).T, bits=4, group_size=BLOCK)
    codes, scales, zeros = (part.numpy() for part in parts)
    codes = codes.reshape(*scales.shape, BLOCK)
    if whole:
        zeros = np.rint(zeros).clip(0, 15)
        padded = np.pad(weight.T, ((0, 0), (0, -len(weight) % BLOCK))).reshape(codes.shape)
        codes = np.rint(padded / scales[..., None] + zeros[..., None]).clip(0, 15)
    return (lambda: _restored(codes, scales, zeros, len(weight)),
            codes.size / 2 + scales.nbytes + (zeros.size / 2 if whole else zeros.nbytes))


def with_bitsandbytes(weight: Array) -> Rounded:
    """Round to NF4 as QLoRA does."""
    transposed = torch.from_numpy(np.ascontiguousarray(weight.T))
    packed, state = bitsandbytes.functional.quantize_4bit(transposed, blocksize=NF4_BLOCK, quant_type="nf4")
    codes, largest = packed.numpy().ravel(), state.absmax.numpy()
    # its own `dequantize_4bit` (0.50.2, on a CPU with AVX-512) is off where blocks reach across rows of 32, 80 or 96
    return lambda: restore_nf4(codes, largest, weight.shape, NF4_BLOCK), codes.nbytes + largest.nbytes


PLAIN = WeightScheme(bits=4, granularity=Granularity.BLOCK, group_size=BLOCK)
SEARCHED = replace(PLAIN, searched=True)
SHIFTED = replace(PLAIN, zero_points=True)
BEST = replace(SHIFTED, searched=True)
WIDE = replace(BEST, group_size=128)
TWO_LEVELS = replace(SHIFTED, group_size=16, reduced_range=True)
METHODS: dict[str, Callable[[Array], Rounded]] = {
    "ours, two levels, blocks of 16 (`int4` of large models)": lambda weight: with_two_levels(TWO_LEVELS, weight),
    "ours, zero points (`int4-plain`)": lambda weight: with_zero_points(SHIFTED, weight),
    "ours, zero points, searched (`int4`)": lambda weight: with_zero_points(BEST, weight),
    "ours, the same in blocks of 128 (`int4-b128`)": lambda weight: with_zero_points(WIDE, weight),
    "ours, symmetric": lambda weight: with_integers(PLAIN, weight),
    "ours, symmetric, searched": lambda weight: with_integers(SEARCHED, weight),
    "ours, searched, rank 32 (`int4-lr32`)": lambda weight: with_integers(replace(SEARCHED, rank=32), weight),
    "ours, NF4 (`nf4`)": with_nf4,
    "onnxruntime, default": with_onnxruntime,
    "onnxruntime, k_quant": with_k_quant,
    "onnxruntime, HQQ": with_hqq,
    "onnxruntime, HQQ, zero points of 4 bits": lambda weight: with_hqq(weight, whole=True),
    "bitsandbytes, NF4": with_bitsandbytes,
}


def matrices(size: int) -> dict[str, list[Array]]:
    """Return float32 (inputs, outputs) by kind: two of this size, and those of the text network."""
    random = np.random.default_rng(0)
    tensors = load_file(CHECKPOINT)
    linear = [
        np.ascontiguousarray(tensor.T) for name, tensor in tensors.items()
        if name.startswith("text.") and name.endswith(".weight") and tensor.ndim == 2 and ".embedding." not in name
    ]
    return {
        "normal": [random.normal(size=(size, size)).astype(np.float32)],
        "heavy-tailed": [random.standard_t(4, size=(size, size)).astype(np.float32)],
        "text network": linear,
    }


def measure(method: Callable[[Array], Rounded], weights: Sequence[Array]) -> Loss:
    """Round all matrices; noise and signal are summed over them."""
    random = np.random.default_rng(1)
    signals, noises, size = np.zeros(2), np.zeros(2), 0.0
    for weight in weights:
        restore, stored = method(weight)
        lost = restore().astype(np.float64) - weight
        inputs = random.normal(size=(INPUTS, len(weight)))
        signals += [np.square(weight).sum(), np.square(inputs @ weight).sum()]
        noises += [np.square(lost).sum(), np.square(inputs @ lost).sum()]
        size += stored
    count = sum(weight.size for weight in weights)
    seconds = min(_seconds(method, weights) for _ in range(TURNS))
    return Loss(*(10 * np.log10(signals / noises)), size / count, 1e6 * seconds / count)


def report(size: int) -> str:
    """Return the table, a row a method."""
    kinds = matrices(size)
    rows = []
    for name, method in METHODS.items():
        losses = [measure(method, weights) for weights in kinds.values()]
        cells = [f"{loss.weights_db:.2f} / {loss.outputs_db:.2f}" for loss in losses]
        rows.append([name, f"{losses[0].bytes_a_weight:.3f}", *cells, f"{losses[0].seconds:.3f}"])
    return markdown(["method", "bytes a weight", *kinds, "s a million"], rows)


def _seconds(method: Callable[[Array], Rounded], weights: Sequence[Array]) -> float:
    start = time.perf_counter()
    for weight in weights:
        method(weight)
    return time.perf_counter() - start


def _restored(codes: Array, scales: Array, zeros: Array, inputs: int) -> Array:
    """(outputs, blocks, block), (outputs, blocks) twice -> (inputs, outputs)."""
    values = (codes.astype(np.float32) - zeros[..., None]) * scales[..., None]
    return values.reshape(len(codes), -1)[:, :inputs].T


def _halves(packed: Array) -> Array:
    """Return both halves of every byte, the low one first."""
    return np.stack([packed & 15, packed >> 4], -1).ravel()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the random matrices")
    options = parser.parse_args()
    print(report(options.size))


if __name__ == "__main__":
    main()
