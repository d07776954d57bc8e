"""The build recipe in a component's folder: NVIDIA's own command, once for each block, for who builds without nanoedge.

Flags are those of `trtexec --help` in TensorRT 10. What is gone in TensorRT 11:
https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/migration/tensorrt-10x-to-11x-trtexec.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edge_runtime.blocks import WORKSPACE_BYTES, Block, Profile

SCRIPT: Final = "build.sh"

_HEAD: Final = """#!/bin/sh
# Builds the engines of "{name}" where they are to run: sh build.sh [folder for the engines]
# nanoedge does so by itself on first use, where TensorRT's Python package is; this is for programs of your own.
# Run the blocks in this order: each reads the inputs and what blocks before it gave, by name (blocks.json).
#
#   JetPack 6.2, TensorRT 10.3     --stronglyTyped: all precision is in the graphs
#   JetPack 7.2, TensorRT 10.16    the same; add neither --fp16, --int8, --int4 nor --best
#   TensorRT 11                    not for JetPack; always strongly typed, those flags are gone, this one does nothing
#
# An engine runs on no other GPU, TensorRT or driver than it was built with.
set -e
cd "$(dirname "$0")"
out=${{1:-.}}
trtexec=${{TRTEXEC:-/usr/src/tensorrt/bin/trtexec}}
"""


def build_script(name: str, blocks: Sequence[Block]) -> bytes:
    """Return the text of build.sh, the same bytes for the same blocks."""
    return "\n".join([_HEAD.format(name=name), *map(_command, blocks), ""]).encode()


def _command(block: Block) -> str:
    stem = block.file.removesuffix(".onnx")
    flags = [
        f"--onnx={block.file}", f'"--saveEngine=$out/{stem}.engine"', '"--timingCacheFile=$out/timing.cache"',
        "--stronglyTyped", "--skipInference", f"--memPoolSize=workspace:{WORKSPACE_BYTES >> 20}",
        *_shapes(block.profiles),
    ]  # fmt: skip
    return " \\\n  ".join(['"$trtexec"', *flags])


def _shapes(profiles: Mapping[str, Profile]) -> list[str]:
    """Return the three flags with the shapes of inputs whose sizes are not fixed."""
    if not profiles:
        return []
    shapes = {
        "min": {name: each.smallest for name, each in profiles.items()},
        "opt": {name: each.best for name, each in profiles.items()},
        "max": {name: each.largest for name, each in profiles.items()},
    }
    return [
        f"--{kind}Shapes=" + ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in sizes.items())
        for kind, sizes in shapes.items()
    ]
