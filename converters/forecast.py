"""What converting a component will take, from shapes alone: no graph is captured and no weight is read."""

from __future__ import annotations

import fnmatch
import math
import re
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.recipe import Format, Granularity, Layer, Recipe, WeightScheme
from converters.slabs import SLAB_VALUES, round_matrix
from converters.source import ComponentSource
from converters.streaming import SMALLEST
from converters.two_level import round_two_level

BASE_BYTES: Final = 700 << 20
"""Private memory of a process with torch and diffusers and a captured graph."""

START_SECONDS: Final = 12.0
CAPTURE_SECONDS_A_TENSOR: Final = 0.02
_TABLE: Final = re.compile(r"embed_tokens|shared|token_embedding|position_embedding|relative_attention_bias|pos_embed")
_TRIAL: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One component: parameters, the precision of most of them, bytes on disk, most private memory, seconds here."""

    name: str
    parameters: int
    precision: str
    bytes: int
    peak_bytes: int
    seconds: float


def forecast(component: ComponentSource, recipe: Recipe) -> Forecast:
    """Estimate one component; the speed is tried on this machine with a small matrix."""
    assert component.weights is not None
    shapes = {name: component.weights.shape(name) for name in component.weights.names}
    schemes = {name: _scheme(name, shape, component, recipe) for name, shape in shapes.items()}
    counts: dict[str, int] = {}
    size = seconds = 0.0
    for name, shape in shapes.items():
        values, scheme = math.prod(shape), schemes[name]
        precision = "fp32" if scheme is None else "bf16" if scheme.format is Format.BFLOAT16 else scheme.precision
        counts[precision] = counts.get(precision, 0) + values
        size += values * bytes_a_value(scheme, shape)
        seconds += values * _seconds_a_value(scheme)
    largest = max(map(math.prod, shapes.values()), default=0)
    return Forecast(
        name=component.name,
        parameters=sum(map(math.prod, shapes.values())),
        precision=max(counts, key=lambda name: counts[name]),
        bytes=int(size),
        peak_bytes=BASE_BYTES + 5 * largest + 6 * 4 * SLAB_VALUES,
        seconds=round(START_SECONDS + CAPTURE_SECONDS_A_TENSOR * len(shapes) + seconds, 1),
    )


def bytes_a_value(scheme: WeightScheme | None, shape: tuple[int, ...]) -> float:
    """Return how many bytes a weight takes with everything that belongs to it."""
    if scheme is None:
        return 4
    if scheme.format is Format.BFLOAT16:
        return 2
    size = scheme.bits / 8
    if scheme.two_level:
        size += 1 / (scheme.group_size or 1)
    elif scheme.group_size:
        size += (4 + (scheme.bits / 8 if scheme.zero_points else 0)) / scheme.group_size
    if scheme.rank and len(shape) == 2:
        size += 4 * scheme.rank * sum(shape) / math.prod(shape)
    return size


def _scheme(
    name: str, shape: tuple[int, ...], component: ComponentSource, recipe: Recipe
) -> WeightScheme | None:
    if not name.endswith("weight") or math.prod(shape) < SMALLEST or len(shape) not in (2, 4):
        return None
    if any(fnmatch.fnmatch(name, pattern) for pattern in (*component.exclude, *recipe.exclude)):
        return None
    layer = Layer.CONVOLUTION if len(shape) == 4 else Layer.EMBEDDING if _TABLE.search(name) else Layer.MATMUL
    found = recipe.layers.get(layer)
    return None if found is None else found.weights


_tried: dict[WeightScheme | None, float] = {}


def _seconds_a_value(scheme: WeightScheme | None) -> float:
    """Return what reading, rounding and writing a weight takes here, from one small matrix a scheme."""
    if scheme not in _tried:
        matrix = np.random.default_rng(0).standard_normal((_TRIAL, _TRIAL), np.float32)
        started = time.perf_counter()
        if scheme is None or scheme.format is not Format.INTEGER or scheme.granularity is Granularity.TENSOR:
            matrix.astype(np.float16)
        elif scheme.two_level:
            round_two_level(lambda start, stop: matrix[start:stop], matrix.shape, scheme)
        else:
            round_matrix(matrix, scheme)
        _tried[scheme] = (time.perf_counter() - started) / matrix.size + 4e-9
    return _tried[scheme]
