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

    `guidance` is what rounding is judged at: 7.5 times a difference of two random networks is mostly rounding.
    """

    module: str
    build: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
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
    "dreamlite": Example(module="dreamlite"),
    "flux2-klein": Example(module="flux2_klein", pictures=2),
    "flux-kontext": Example(
        module="flux_kontext", settings={"size": {"preferred": [[96, 192], [128, 128], [192, 96]]}}
    ),
    "qwen-image-edit": Example(module="qwen_image_edit", settings=_QWEN),
    "qwen-image-edit-plus": Example(
        module="qwen_image_edit", build={"plus": True, "zero_cond_t": True}, settings=_QWEN, pictures=2
    ),
    "umo": Example(module="umo", loras=_umo_loras, settings={"references": {"long_side": [128, 96]}}, pictures=2),
    "instruct-pix2pix": Example(module="instruct_pix2pix", guidance={"text": 1.0}),
}
