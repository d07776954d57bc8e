"""A component as a chain of graphs, each small enough to build an engine of: what its table of contents says.

The format of the target `tensorrt`, docs/artifact-format.md, "Blocks". Nothing here runs a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.canonical_json import decode, encode, members
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor, TensorSpec

CONTENTS: Final = "blocks.json"
FORMAT: Final = 1
WORKSPACE_BYTES: Final = 1 << 30
"""What building an engine may take for trying kernels, beside the weights: on a board of 8 GB, half the blocks' own."""

MOST_BLOCKS: Final = 12
"""With their tensors in one file more, the recipe, and some room in the 16 data files that a component may have."""

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Runs one block: input name -> array in, output name -> array out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The shapes of one input that an engine is built for: any between `smallest` and `largest`, `best` the fastest."""

    smallest: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]

    def __post_init__(self) -> None:
        shapes = (self.smallest, self.best, self.largest)
        whole = all(type(size) is int and size >= 1 for shape in shapes for size in shape)
        if not whole or len({len(shape) for shape in shapes}) != 1 or not all(
            low <= best <= high for low, best, high in zip(*shapes, strict=True)
        ):
            raise ArtifactError("the shapes of a profile are not usable", got=shapes, allowed="smallest, best, largest")

    def to_json(self) -> dict[str, list[int]]:
        """Return `{"smallest": [...], "best": [...], "largest": [...]}`."""
        return {"smallest": list(self.smallest), "best": list(self.best), "largest": list(self.largest)}

    @classmethod
    def from_json(cls, data: object, where: str) -> Profile:
        """Read what `to_json` writes; raises ArtifactError."""
        entry = members(data, {"smallest": list, "best": list, "largest": list}, where)
        return cls(**{name: tuple(sizes) for name, sizes in entry.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One graph: `file` is beside the table of contents. `profiles` has the inputs whose sizes are not fixed.

    It reads the component's inputs and what blocks before it gave, by their names.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: Mapping[str, Profile]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the table of contents."""
        return {
            "file": self.file,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "profiles": {name: profile.to_json() for name, profile in self.profiles.items()},
        }

    @classmethod
    def from_json(cls, data: object, where: str) -> Block:
        """Read what `to_json` writes; raises ArtifactError."""
        entry = members(data, {"file": str, "inputs": list, "outputs": list, "profiles": dict}, where)
        block = cls(
            file=entry["file"],
            inputs=tuple(TensorSpec.from_json(spec, where) for spec in entry["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec, where) for spec in entry["outputs"]),
            profiles={name: Profile.from_json(each, f"{where}.{name}") for name, each in entry["profiles"].items()},
        )
        wanted = {spec.name for spec in block.inputs if any(isinstance(size, str) for size in spec.shape)}
        if wanted != set(block.profiles):
            raise ArtifactError(f"{where}: profiles and inputs differ", got=block.profiles, allowed=sorted(wanted))
        return block


def contents(blocks: Sequence[Block]) -> bytes:
    """Return the table of contents, the same bytes for the same blocks."""
    return encode({"format": FORMAT, "blocks": [block.to_json() for block in blocks]})


def read_blocks(path: Path, component: Component) -> tuple[Block, ...]:
    """Read the table of contents at `path`; raises EngineError when it doesn't belong to the component.

    Every block's graph must be a data file of the component: those alone have a digest in the manifest.
    """
    try:
        data = members(decode(path.read_bytes()), {"format": int, "blocks": list}, CONTENTS)
        blocks = tuple(Block.from_json(entry, f"block {place}") for place, entry in enumerate(data["blocks"], 1))
    except (OSError, ArtifactError) as error:
        raise EngineError(
            f"the table of contents of {component.name} can't be read", got=error, hint="convert the model again"
        ) from error
    _check_files(blocks, component)
    _check_chain(blocks, component)
    if data["format"] != FORMAT:
        raise EngineError(
            f"{component.name} is in another format of blocks", got=data["format"], allowed=FORMAT, hint="convert again"
        )
    return blocks


def run_in_order(
    component: Component, blocks: Sequence[Block], runs: Sequence[Run], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Run one block after another and return the component's outputs; what nobody reads any more is let go."""
    outputs = {spec.name for spec in component.outputs}
    held = dict(inputs)
    for place, (block, run) in enumerate(zip(blocks, runs, strict=True)):
        held |= run({spec.name: held[spec.name] for spec in block.inputs})
        wanted = outputs | {spec.name for later in blocks[place + 1 :] for spec in later.inputs}
        held = {name: array for name, array in held.items() if name in wanted}
    return {spec.name: held[spec.name] for spec in component.outputs}


def _check_files(blocks: Sequence[Block], component: Component) -> None:
    folder = component.file.rpartition("/")[0]
    known = {part.file.removeprefix(f"{folder}/") for part in component.data}
    named = [block.file for block in blocks]
    if not blocks or len(blocks) > MOST_BLOCKS or len(set(named)) != len(named) or not set(named) <= known:
        raise EngineError(
            f"the blocks of {component.name} are not its files", got=", ".join(named) or "none",
            allowed=f"1 to {MOST_BLOCKS} of {', '.join(sorted(known))}", hint="convert the model again",
        )  # fmt: skip


def _check_chain(blocks: Sequence[Block], component: Component) -> None:
    """Raise EngineError unless every tensor that a block reads is there by then, and the outputs at the end."""
    held = {spec.name: spec for spec in component.inputs}
    for block in blocks:
        for spec in block.inputs:
            if spec.name not in held or held[spec.name].dtype != spec.dtype:
                raise EngineError(f"block {block.file} of {component.name} reads what no block gives", got=spec.name)
        held |= {spec.name: spec for spec in block.outputs}
    missing = [spec.name for spec in component.outputs if held.get(spec.name, None) is None]
    if missing:
        raise EngineError(f"no block of {component.name} gives an output", got=", ".join(missing))
