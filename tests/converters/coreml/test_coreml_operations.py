"""Every operation of the interpreter against torch: written as a package, read again and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from converters.coreml.interpreter import Interpreter
from converters.coreml.library import IOS17, IOS18, Builder, types
from converters.coreml.operations import OPERATIONS
from converters.coreml.package import write_package
from edge_runtime.errors import ConversionError, EngineError

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(0, 2, (3, 4)).astype(np.float32)
OTHER = RANDOM.normal(0, 2, (3, 4)).astype(np.float32)
POSITIVE = np.abs(MATRIX) + 0.1
CODES = RANDOM.integers(-20, 20, (3, 4)).astype(np.int32)
PICTURE = RANDOM.normal(0, 1, (1, 4, 6, 8)).astype(np.float32)
KERNEL = RANDOM.normal(0, 1, (6, 2, 3, 3)).astype(np.float32)
UPWARDS = RANDOM.normal(0, 1, (4, 3, 2, 2)).astype(np.float32)
BIAS = RANDOM.normal(0, 1, 6).astype(np.float32)
FOUR = RANDOM.normal(0, 1, 4).astype(np.float32)
TABLE = RANDOM.normal(0, 1, (5, 4)).astype(np.float32)
WIDE = RANDOM.integers(-128, 128, (4, 6)).astype(np.int8)
NIBBLES = RANDOM.integers(0, 16, (4, 6)).astype(np.uint8)
SCALES = RANDOM.uniform(0.1, 1, (4, 2)).astype(np.float32)
PALETTES = RANDOM.normal(0, 1, (2, 1, 16, 1)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """`build` makes the operation from MIL variables, `expected` the same from torch tensors of the inputs."""

    build: Callable[..., Any]
    expected: Callable[..., Tensor]
    inputs: tuple[np.ndarray, ...] = (MATRIX,)
    system: Any = IOS18


def unary(name: str, function: Callable[[Tensor], Tensor], x: np.ndarray = MATRIX) -> Case:
    return Case(lambda x: getattr(Builder, name)(x=x), function, (x,))


def binary(name: str, function: Callable[..., Tensor], x: np.ndarray = MATRIX, y: np.ndarray = OTHER) -> Case:
    return Case(lambda x, y: getattr(Builder, name)(x=x, y=y), function, (x, y))


def compared(name: str, function: Callable[..., Tensor]) -> Case:
    """Bring both outcomes about, equality too; truth values leave a package as whole numbers."""
    near = np.where(RANDOM.random(MATRIX.shape) < 0.5, MATRIX, OTHER)
    return Case(
        lambda x, y: Builder.cast(x=getattr(Builder, name)(x=x, y=y), dtype="int32"),
        lambda x, y: function(x, y).int(),
        (MATRIX, near),
    )


def logical(name: str, function: Callable[..., Tensor]) -> Case:
    return Case(
        lambda x, y: Builder.cast(
            x=getattr(Builder, name)(x=Builder.greater(x=x, y=0.0), y=Builder.greater(x=y, y=0.0)), dtype="int32"
        ),
        lambda x, y: function(x > 0, y > 0).int(),
        (MATRIX, OTHER),
    )


def reduced(name: str, function: Callable[..., Tensor]) -> Case:
    return Case(
        lambda x: getattr(Builder, name)(x=x, axes=[1, 3], keep_dims=True),
        lambda x: function(x, dim=(1, 3), keepdim=True),
        (PICTURE,),
    )


def spread(values: np.ndarray, times: int) -> Tensor:
    return torch.from_numpy(values).repeat_interleave(times, 1)


CASES: dict[str, Case] = {
    "abs": unary("abs", torch.abs),
    "ceil": unary("ceil", torch.ceil),
    "cos": unary("cos", torch.cos),
    "erf": unary("erf", torch.erf),
    "exp": unary("exp", torch.exp),
    "exp2": unary("exp2", torch.exp2),
    "floor": unary("floor", torch.floor),
    "identity": unary("identity", torch.clone),
    "relu": unary("relu", torch.relu),
    "round": unary("round", torch.round),
    "sigmoid": unary("sigmoid", torch.sigmoid),
    "sign": unary("sign", torch.sign),
    "silu": unary("silu", functional.silu),
    "sin": unary("sin", torch.sin),
    "softplus": unary("softplus", functional.softplus),
    "sqrt": unary("sqrt", torch.sqrt, POSITIVE),
    "square": unary("square", torch.square),
    "tanh": unary("tanh", torch.tanh),
    "gelu": Case(
        lambda x: Builder.gelu(x=x, mode="TANH_APPROXIMATION"), lambda x: functional.gelu(x, approximate="tanh")
    ),
    "log": unary("log", torch.log, POSITIVE),
    "inverse": Case(lambda x: Builder.inverse(x=x, epsilon=0.5), lambda x: 1 / (x + 0.5), (POSITIVE,)),
    "rsqrt": Case(lambda x: Builder.rsqrt(x=x, epsilon=0.5), lambda x: (x + 0.5).rsqrt(), (POSITIVE,)),
    "add": binary("add", torch.add, MATRIX, OTHER[:1]),
    "sub": binary("sub", torch.sub),
    "mul": binary("mul", torch.mul),
    "real_div": binary("real_div", torch.div, MATRIX, POSITIVE),
    "floor_div": binary("floor_div", torch.floor_divide, CODES, np.array([[7]], np.int32)),
    "mod": binary("mod", torch.remainder, CODES, np.array([[7]], np.int32)),
    "maximum": binary("maximum", torch.maximum),
    "minimum": binary("minimum", torch.minimum),
    "pow": binary("pow", torch.pow, POSITIVE, OTHER),
    "equal": compared("equal", torch.eq),
    "not_equal": compared("not_equal", torch.ne),
    "greater": compared("greater", torch.gt),
    "greater_equal": compared("greater_equal", torch.ge),
    "less": compared("less", torch.lt),
    "less_equal": compared("less_equal", torch.le),
    "logical_and": logical("logical_and", torch.logical_and),
    "logical_or": logical("logical_or", torch.logical_or),
    "logical_not": Case(
        lambda x: Builder.cast(x=Builder.logical_not(x=Builder.greater(x=x, y=0.0)), dtype="int32"),
        lambda x: (x <= 0).int(),
    ),
    "cast": Case(lambda x: Builder.cast(x=x, dtype="int32"), lambda x: x.trunc().int()),
    "clip": Case(lambda x: Builder.clip(x=x, alpha=-1.0, beta=0.5), lambda x: x.clamp(-1, 0.5)),
    "select": Case(
        lambda x, y: Builder.select(cond=Builder.greater(x=x, y=y), a=x, b=y), torch.maximum, (MATRIX, OTHER)
    ),
    "cumsum": Case(lambda x: Builder.cumsum(x=x, axis=1), lambda x: x.cumsum(1)),
    "softmax": Case(lambda x: Builder.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    "reduce_log_sum_exp": reduced("reduce_log_sum_exp", torch.logsumexp),
    "reduce_max": reduced("reduce_max", torch.amax),
    "reduce_mean": reduced("reduce_mean", torch.mean),
    "reduce_min": reduced("reduce_min", torch.amin),
    "reduce_sum": reduced("reduce_sum", torch.sum),
    "shape": Case(lambda x: Builder.shape(x=x), lambda x: torch.tensor(x.shape).int(), (PICTURE,)),
    "reshape": Case(lambda x: Builder.reshape(x=x, shape=[0, 2, -1]), lambda x: x.reshape(1, 2, 96), (PICTURE,)),
    "transpose": Case(
        lambda x: Builder.transpose(x=x, perm=[0, 2, 3, 1]), lambda x: x.permute(0, 2, 3, 1), (PICTURE,)
    ),
    "expand_dims": Case(lambda x: Builder.expand_dims(x=x, axes=[0, -1]), lambda x: x[None, ..., None]),
    "squeeze": Case(lambda x: Builder.squeeze(x=x, axes=[0]), lambda x: x[0], (PICTURE,)),
    "concat": Case(lambda x, y: Builder.concat(values=[x, y], axis=1), lambda *xs: torch.cat(xs, 1), (MATRIX, OTHER)),
    "stack": Case(lambda x, y: Builder.stack(values=[x, y], axis=1), lambda *xs: torch.stack(xs, 1), (MATRIX, OTHER)),
    "split": Case(lambda x: Builder.split(x=x, split_sizes=[1, 3], axis=1)[1], lambda x: x[:, 1:]),
    "slice_by_index": Case(
        lambda x: Builder.slice_by_index(
            x=x, begin=[0, 1, -5, 0], end=[0, 2, -1, 0], stride=[1, 1, 2, 1],
            begin_mask=[True, False, False, True], end_mask=[True, False, False, True],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, 1, -5:-1:2],
        (PICTURE,),
    ),
    "pad": Case(
        lambda x: Builder.pad(x=x, pad=[0, 0, 0, 0, 1, 2, 3, 0], mode="replicate"),
        lambda x: functional.pad(x, (3, 0, 1, 2), mode="replicate"),
        (PICTURE,),
    ),
    "tile": Case(lambda x: Builder.tile(x=x, reps=[2, 3]), lambda x: x.repeat(2, 3)),
    "reverse": Case(lambda x: Builder.reverse(x=x, axes=[1]), lambda x: x.flip(1)),
    "fill": Case(
        lambda x: Builder.add(x=Builder.fill(shape=[3, 4], value=2.5), y=x), lambda x: x + 2.5
    ),
    "fill_like": Case(
        lambda x: Builder.fill_like(ref_tensor=x, value=2.5), lambda x: torch.full_like(x, 2.5)
    ),
    "range_1d": Case(
        lambda x: Builder.range_1d(start=1, end=Builder.reduce_max(x=x, axes=[0, 1], keep_dims=False), step=2),
        lambda x: torch.arange(1, int(x.max()), 2).int(),
        (CODES,),
    ),
    "gather": Case(
        lambda x, i: Builder.gather(x=x, indices=i, axis=1),
        lambda x, i: x[:, i.long()],
        (MATRIX, np.array([[3, 0], [1, 1]], np.int32)),
    ),
    "gather_along_axis": Case(
        lambda x, i: Builder.gather_along_axis(x=x, indices=i, axis=1),
        lambda x, i: x.gather(1, i.long()),
        (MATRIX, np.array([[3, 0], [1, 1], [2, 0]], np.int32)),
    ),
    "pixel_shuffle": Case(
        lambda x: Builder.pixel_shuffle(x=x, upscale_factor=2), lambda x: functional.pixel_shuffle(x, 2), (PICTURE,)
    ),
    "conv": Case(
        lambda x: Builder.conv(
            x=x, weight=KERNEL, bias=BIAS, strides=[2, 1], pad_type="custom", pad=[1, 0, 2, 1], groups=2
        ),
        lambda x: functional.conv2d(
            functional.pad(x, (2, 1, 1, 0)), torch.from_numpy(KERNEL), torch.from_numpy(BIAS), (2, 1), groups=2
        ),
        (PICTURE,),
    ),
    "conv_transpose": Case(
        lambda x: Builder.conv_transpose(x=x, weight=UPWARDS, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda x: functional.conv_transpose2d(x, torch.from_numpy(UPWARDS), None, 2, 1),
        (PICTURE,),
    ),
    "linear": Case(
        lambda x: Builder.linear(x=x, weight=TABLE, bias=BIAS[:5]),
        lambda x: functional.linear(x, torch.from_numpy(TABLE), torch.from_numpy(BIAS[:5])),
    ),
    "matmul": Case(
        lambda x, y: Builder.matmul(x=x, y=y, transpose_y=True), lambda x, y: x @ y.T, (MATRIX, OTHER)
    ),
    "scaled_dot_product_attention": Case(
        lambda x: Builder.scaled_dot_product_attention(query=x, key=x, value=x),
        lambda x: functional.scaled_dot_product_attention(x, x, x),
        (PICTURE,),
    ),
    "layer_norm": Case(
        lambda x: Builder.layer_norm(x=x, axes=[1], gamma=FOUR, beta=BIAS[:4], epsilon=1e-3),
        lambda x: functional.layer_norm(x, (4,), torch.from_numpy(FOUR), torch.from_numpy(BIAS[:4]), 1e-3),
    ),
    "instance_norm": Case(
        lambda x: Builder.instance_norm(x=x, gamma=FOUR, beta=BIAS[:4], epsilon=1e-3),
        lambda x: functional.instance_norm(
            x, weight=torch.from_numpy(FOUR), bias=torch.from_numpy(BIAS[:4]), eps=1e-3
        ),
        (PICTURE,),
    ),
    "batch_norm": Case(
        lambda x: Builder.batch_norm(x=x, mean=FOUR, variance=np.abs(FOUR), gamma=BIAS[:4], beta=FOUR, epsilon=1e-3),
        lambda x: functional.batch_norm(
            x, *map(torch.from_numpy, (FOUR, np.abs(FOUR), BIAS[:4], FOUR)), eps=1e-3
        ),
        (PICTURE,),
    ),
    "max_pool": Case(
        lambda x: Builder.max_pool(
            x=x, kernel_sizes=[3, 3], strides=[1, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=False
        ),
        lambda x: functional.max_pool2d(x, 3, (1, 2), 1),
        (PICTURE,),
    ),
    "avg_pool": Case(
        lambda x: Builder.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[1, 2], pad_type="custom", pad=[1, 1, 1, 1],
            exclude_padding_from_average=False,
        ),
        lambda x: functional.avg_pool2d(x, 3, (1, 2), 1),
        (PICTURE,),
    ),
    "upsample_bilinear": Case(
        lambda x: Builder.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False),
        lambda x: functional.interpolate(x, scale_factor=(2.0, 3.0), mode="bilinear"),
        (PICTURE,),
    ),
    "upsample_nearest_neighbor": Case(
        lambda x: Builder.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: functional.interpolate(x, scale_factor=(2.0, 3.0), mode="nearest"),
        (PICTURE,),
    ),
    "resize": Case(
        lambda x, size: Builder.resize(
            x=x, shape=size, resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"
        ),
        lambda x, size: functional.interpolate(x, size.tolist(), mode="bilinear"),
        (PICTURE, np.array([5, 11], np.int32)),
    ),
    "constexpr_affine_dequantize": Case(
        lambda x: Builder.linear(
            x=x,
            weight=Builder.constexpr_affine_dequantize(
                quantized_data=WIDE, zero_point=np.int8(3), scale=SCALES[:, 0], axis=0
            ),
        ),
        lambda x: x @ ((torch.from_numpy(WIDE).float() - 3) * torch.from_numpy(SCALES[:, :1])).T,
        (RANDOM.normal(0, 1, (2, 6)).astype(np.float32),),
        IOS17,
    ),
    "constexpr_blockwise_shift_scale": Case(
        lambda x: Builder.linear(
            x=x,
            weight=Builder.constexpr_blockwise_shift_scale(
                data=NIBBLES.astype(types.np_uint4_dtype),
                scale=SCALES,
                offset=NIBBLES[:, :2].astype(types.np_uint4_dtype),
            ),
        ),
        lambda x: x @ ((torch.from_numpy(NIBBLES).float() - spread(NIBBLES[:, :2], 3)) * spread(SCALES, 3)).T,
        (RANDOM.normal(0, 1, (2, 6)).astype(np.float32),),
    ),
    "constexpr_lut_to_dense": Case(
        lambda x: Builder.linear(
            x=x,
            weight=Builder.constexpr_lut_to_dense(indices=NIBBLES.astype(types.np_uint4_dtype), lut=PALETTES),
        ),
        lambda x: x
        @ torch.from_numpy(np.stack([PALETTES[row // 2, 0, NIBBLES[row], 0] for row in range(4)])).T,
        (RANDOM.normal(0, 1, (2, 6)).astype(np.float32),),
    ),
}  # fmt: skip


def package_of(case: Case, folder):
    """Write a program of this one operation."""
    kinds = {np.dtype(np.float32): types.fp32, np.dtype(np.int32): types.int32}
    specs = [Builder.TensorSpec(shape=value.shape, dtype=kinds[value.dtype]) for value in case.inputs]
    names = "abc"[: len(case.inputs)]
    scope: dict[str, Any] = {"build": case.build}
    exec(f"def program({', '.join(names)}): return build({', '.join(names)})", scope)  # coremltools reads the names
    program = Builder.program(input_specs=specs, opset_version=case.system)(scope["program"])
    write_package(program, case.system, folder)
    return Interpreter(folder), names


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_operation_computes_what_torch_computes(name, tmp_path):
    case = CASES[name]
    interpreter, names = package_of(case, tmp_path / "one.mlpackage")
    assert name in {operation.op_type for operation in interpreter.operations}
    (found,) = interpreter.run(dict(zip(names, case.inputs, strict=True))).values()
    expected = case.expected(*map(torch.from_numpy, case.inputs)).numpy()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_every_operation_has_a_case():
    assert set(CASES) == set(OPERATIONS)


def test_half_precision_is_rounded_to_after_every_operation(tmp_path):
    def halves(x: Any) -> Any:
        half = Builder.cast(x=x, dtype="fp16")
        return Builder.cast(x=Builder.sub(x=Builder.add(x=half, y=np.float16(2048)), y=half), dtype="fp32")

    x = np.array([[0.3, 1.0, 1.7, 3.1]], np.float32)
    interpreter, _ = package_of(Case(halves, torch.clone, (x,)), tmp_path / "half.mlpackage")
    half = x.astype(np.float16)
    expected = ((half + np.float16(2048)) - half).astype(np.float32)
    (found,) = interpreter.run({"a": x}).values()
    np.testing.assert_array_equal(found, expected)
    assert not (found == 2048).all()


def test_an_unknown_operation_is_named(tmp_path):
    with pytest.raises(ConversionError, match="no operation atan.*Allowed: abs, add.*converters/coreml/operations"):
        package_of(unary("atan", torch.atan), tmp_path / "odd.mlpackage")


def test_an_operation_that_fails_is_named(tmp_path):
    case = CASES["gather"]
    interpreter, _ = package_of(case, tmp_path / "odd.mlpackage")
    with pytest.raises(EngineError, match=r"operation .*\(gather\) can't be run"):
        interpreter.run({"a": MATRIX, "b": np.array([[0, 9], [1, 1]], np.int32)})


def test_what_is_no_package_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="Gone.mlpackage is not a Core ML package"):
        Interpreter(tmp_path / "gone.mlpackage")
    model = tmp_path / "odd.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"not protobuf at all")
    with pytest.raises(ConversionError, match="Odd.mlpackage is not a Core ML package"):
        Interpreter(tmp_path / "odd.mlpackage")
