"""Finds better ranges for the 8-bit activations of an ONNX graph than the extremes that calibration saw.

The extremes are rare, and every step is as wide as they want it. So each range in turn is made narrower, or else wider,
as long as what the whole graph gives comes nearer to what the float graph gives: coordinate descent on samples. The
graph keeps its form, and so its speed. (The same percentile for all ranges was measured too: no better than extremes.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from converters.source import Arrays
from edge_runtime.tensors import Tensor

FACTORS: Final = (0.8, 1.25)
"""What a range is multiplied by at each try: by the first while that helps, by the second if it never did."""

MOST_TRIES: Final = 4
WORTHWHILE: Final = 0.997
"""A try is kept when it leaves at most this share of the error: less may be chance."""

_LEAST_ERROR: Final = 1e-12


def search_ranges(quantised: onnx.ModelProto, original: onnx.ModelProto, samples: Sequence[Arrays]) -> float:
    """Change the ranges of `quantised`, in place, for the better; `samples` are inputs of both graphs.

    Returns what is left of the error that the extremes leave, 0..1: the mean over samples and outputs of the ratio of
    mean squared differences to the float graph.
    """
    return _Search(quantised, original, samples).run()


class _Search:
    """Holds one graph and what it should give."""

    def __init__(self, quantised: onnx.ModelProto, original: onnx.ModelProto, samples: Sequence[Arrays]) -> None:
        self._graph = quantised
        self._samples = samples
        self._wanted = list(_results(original, samples))
        self._scales = {tensor.name: tensor for tensor in quantised.graph.initializer}
        self._first = self._errors()
        self._error = 1.0

    def run(self) -> float:
        """Go through the ranges in the order of the graph; returns what is left of the error."""
        coded = [node.input[1] for node in self._graph.graph.node if node.op_type == "QuantizeLinear"]
        for name in dict.fromkeys(coded):
            any(self._improved(name, factor) for factor in FACTORS)
        return self._error

    def _improved(self, name: str, factor: float) -> bool:
        for tries in range(MOST_TRIES):
            before = self._stretched(name, factor)
            error = float(np.mean(self._errors() / self._first))
            if not error <= WORTHWHILE * self._error:  # so that not-a-number is no gain
                self._restore(before)
                return tries > 0
            self._error = error
        return True

    def _errors(self) -> NDArray[np.float64]:
        """Return the mean squared error of each output of each sample, float64 (samples * outputs,)."""
        given = _results(self._graph, self._samples)
        return np.array([_distance(*pair) for pair in zip(given, self._wanted, strict=True)]).ravel()

    def _stretched(self, name: str, factor: float) -> Mapping[str, bytes]:
        """Multiply a range, and the steps of the sums that are counted in it; returns what was there before."""
        steps = {name: _floats(self._scales[name]) * np.float32(factor)}
        sums = {}
        for codes, scale in self._sums(name):
            steps[scale] = _floats(self._scales[scale]) * np.float32(factor)
            sums[codes] = np.rint(_integers(self._scales[codes]) / factor).astype(np.int32)
        before = {each: self._scales[each].SerializeToString() for each in (*steps, *sums)}
        for each, values in {**steps, **sums}.items():
            self._scales[each].CopyFrom(onnx.numpy_helper.from_array(values, each))
        return before

    def _restore(self, before: Mapping[str, bytes]) -> None:
        for name, data in before.items():
            self._scales[name].ParseFromString(data)

    def _sums(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield codes and scale of the bias of each convolution that reads an activation of this scale.

        ONNX Runtime adds such a bias to its sums of products as it is, so that its step must be theirs.
        """
        makers = {output: node for node in self._graph.graph.node for output in node.output}
        for node in self._graph.graph.node:
            if node.op_type != "Conv" or len(node.input) < 3 or not {node.input[0], node.input[2]} <= makers.keys():
                continue
            read, bias = makers[node.input[0]], makers[node.input[2]]
            if read.op_type == bias.op_type == "DequantizeLinear" and read.input[1] == name:
                yield bias.input[0], bias.input[1]


def _results(model: onnx.ModelProto, samples: Iterable[Arrays]) -> Iterator[list[Tensor]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for sample in samples:
        yield session.run(None, dict(sample))


def _distance(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[float]:
    pairs = zip(given, wanted, strict=True)
    return [max(_LEAST_ERROR, float(np.mean(np.square(a.astype(np.float64) - b)))) for a, b in pairs]


def _floats(tensor: onnx.TensorProto) -> NDArray[np.float32]:
    return np.asarray(onnx.numpy_helper.to_array(tensor), np.float32)


def _integers(tensor: onnx.TensorProto) -> NDArray[np.int32]:
    return np.asarray(onnx.numpy_helper.to_array(tensor), np.int32)
