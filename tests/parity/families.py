"""Every painting family with a tiny checkpoint of its own, and one edit that suits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

SMALL_AREA: Final = 128 * 128


@dataclass(frozen=True, kw_only=True)
class Example:
    """`module` is in `tiny`; `build` are options of its checkpoint, `settings` take the place of the converter's.

    `least_db` is how near pictures of fewer bits come to the one in float, a little below what was measured. Random
    weights are the worst case; InstructPix2Pix is lowest by far, as its UNet is all convolutions and fresh noise in
    every step spreads what they lose, even at a `guidance` of 1, where differences aren't multiplied.
    """

    module: str
    build: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    least_db: dict[str, float] = field(default_factory=dict)
    pictures: int = 1
    guidance: dict[str, float] = field(default_factory=dict)
    loras: Callable[[Path], Any] | None = None

    def checkpoint(self, folder: Path) -> tuple[Path, tuple[Path, ...]]:
        """Write the checkpoint and what is fused into it."""
        import_module(f"tiny.{self.module}").build(folder / "checkpoint", **self.build)
        if self.loras is None:
            return folder / "checkpoint", ()
        (folder / "loras").mkdir()
        return folder / "checkpoint", tuple(self.loras(folder / "loras"))


def _umo_loras(folder: Path) -> Any:
    return import_module("tiny.umo").write_loras(folder)


_QWEN: Final = {"references": {"area": SMALL_AREA}, "vision": {"area": SMALL_AREA}}

EXAMPLES: Final = {
    "dreamlite": Example(module="dreamlite", least_db={"int8": 22.0, "int4": 16.0}),
    "flux2-klein": Example(module="flux2_klein", least_db={"int8": 33.0, "int4": 22.0}, pictures=2),
    "flux-kontext": Example(
        module="flux_kontext", least_db={"int8": 27.0, "int4": 18.0},
        settings={"size": {"preferred": [[96, 192], [128, 128], [192, 96]]}},
    ),
    "qwen-image-edit": Example(module="qwen_image_edit", least_db={"int8": 37.0, "int4": 32.0}, settings=_QWEN),
    "qwen-image-edit-plus": Example(
        module="qwen_image_edit", least_db={"int8": 37.0, "int4": 32.0}, build={"plus": True, "zero_cond_t": True},
        settings=_QWEN, pictures=2,
    ),
    "umo": Example(
        module="umo", least_db={"int8": 23.0, "int4": 16.0}, loras=_umo_loras,
        settings={"references": {"long_side": [128, 96]}}, pictures=2,
    ),
    "instruct-pix2pix": Example(
        module="instruct_pix2pix", least_db={"int8": 12.0, "int4": 11.0}, guidance={"text": 1.0}
    ),
}
