"""Talking to a program over its standard input and output: lines of words, each with some tensors.

    run render 2\\n                          the words, and how many tensors follow
    image uint8 1x5x4x4\\n<80 bytes>         one tensor: name, dtype, shape, then its bytes, little-endian
    window float32 4\\n<16 bytes>

The programs are the cores of the phone bundles, compiled for this machine; the graphs they ask for run here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    words: Sequence[str]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.tensors[name].tobytes().decode()


def text(value: str) -> Tensor:
    return np.frombuffer(value.encode(), np.uint8)


def send(stream: IO[bytes], message: Message) -> None:
    stream.write(f"{' '.join([*message.words, str(len(message.tensors))])}\n".encode())
    for name, tensor in message.tensors.items():
        array = np.ascontiguousarray(tensor)
        stream.write(f"{name} {array.dtype} {'x'.join(map(str, array.shape))}\n".encode())
        stream.write(array.astype(array.dtype.newbyteorder("<")).tobytes())
    stream.flush()


def receive(process: subprocess.Popen[bytes]) -> Message:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert line, f"the program ended with status {process.wait()}"
    *words, count = line.split()
    return Message(words=words, tensors=dict(_tensor(process.stdout) for _ in range(int(count))))


def _tensor(stream: IO[bytes]) -> tuple[str, Tensor]:
    name, dtype, sides = stream.readline().decode().split()
    shape = tuple(int(side) for side in sides.split("x"))
    kind = np.dtype(dtype)
    data = stream.read(int(np.prod(shape)) * kind.itemsize)
    return name, np.frombuffer(data, kind).reshape(shape)
