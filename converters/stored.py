"""Reads the weights of a written component back, as the float32 that the runtime computes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converters.nf4 import restore_nf4
from converters.two_level import unpacked


class StoredWeights:
    """The tensors of a component that converters/streaming.py wrote, by state-dict name."""

    def __init__(self, graph: Path) -> None:
        self._graph = ir.load(graph).graph
        self._blocks = {
            str(node.inputs[0].name).removesuffix(".codes"): node
            for node in self._graph
            if node.op_type in ("DequantizeLinear", "MatMulBnb4", "Gather")
            and node.inputs[0] is not None
            and str(node.inputs[0].name).endswith(".codes")
        }
        self._blocks |= {
            str(node.inputs[1].name).removesuffix(".codes"): node
            for node in self._graph
            if node.op_type in ("MatMulBnb4", "MatMulInteger") and node.inputs[1] is not None
        }

    def read(self, tensor: str) -> NDArray[Any]:
        """Return a tensor as torch has it, (outputs, inputs) for a linear layer."""
        turned = self._read(f"{tensor}.T")
        if turned is not None:
            return np.ascontiguousarray(turned.T)
        found = self._read(tensor)
        if found is None:
            raise KeyError(tensor)
        return found

    def _read(self, name: str) -> NDArray[Any] | None:
        if (blocks := self._array(f"{name}.blocks")) is not None:
            codes, steps = self._array(f"{name}.codes"), self._array(f"{name}.scales")
            assert codes is not None and steps is not None
            return np.asarray(unpacked(codes, blocks) * steps, np.float32)
        if (plain := self._array(name)) is not None:
            return plain
        if (half := self._array(f"{name}.bf16")) is not None:
            return half.astype(np.float32)
        if self._array(f"{name}.codes") is None:
            return None
        node = self._blocks[name]
        if node.op_type == "MatMulBnb4":
            return self._nf4(name, node)
        weight = self._integers(name, node)
        left, right = self._array(f"{name}.left"), self._array(f"{name}.right")
        return weight if left is None or right is None else weight + left @ right

    def _array(self, name: str) -> NDArray[Any] | None:
        value = self._graph.initializers.get(name)
        return None if value is None or value.const_value is None else np.array(value.const_value.numpy())

    def _integers(self, name: str, node: ir.Node) -> NDArray[np.float32]:
        codes, scales, zeros = (self._array(f"{name}.{part}") for part in ("codes", "scales", "zeros"))
        assert codes is not None and scales is not None
        if node.op_type == "Gather":  # a table whose rows have a scale each
            return np.asarray(codes * scales, np.float32)
        block = node.attributes.get_int("block_size", 0)
        weight = codes.astype(np.float32)
        if not block:
            shape = [1] * codes.ndim
            shape[node.attributes.get_int("axis", 1)] = -1
            if zeros is not None:
                weight -= zeros.astype(np.float32).reshape(shape)
            return np.asarray(weight * scales.reshape(shape), np.float32)
        if zeros is not None:
            weight -= np.repeat(zeros.astype(np.float32), block, axis=0)[: len(weight)]
        weight *= np.repeat(scales, block, axis=0)[: len(weight)]
        return weight

    def _nf4(self, name: str, node: ir.Node) -> NDArray[np.float32]:
        codes, largest = self._array(f"{name}.codes"), self._array(f"{name}.scales")
        assert codes is not None and largest is not None
        shape = node.attributes.get_int("K"), node.attributes.get_int("N")
        return restore_nf4(codes, largest, shape, node.attributes.get_int("block_size"))
