"""The seam to phones and browsers: a `Platform` writes an artifact as a bundle. One file each, in platforms/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeAlias

from edge_runtime.artifact import Artifact
from edge_runtime.errors import ArtifactError

KIND = "mobile_export.platforms"
"""The package of platforms, as `edge_runtime.plugins` takes it."""

Golden: TypeAlias = Callable[[Path], None]
"""Fills an existing, empty folder with golden vectors: inputs and what the artifact makes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to export: an opened artifact, and the platform's own options that were given, by name."""

    artifact: Artifact
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A part of a bundle that somebody else made: its name with version, its licence's name and whole text."""

    part: str
    licence: str
    text: str


class Platform(Protocol):
    """Writes bundles for one kind of device, exposed as `PLATFORM`."""

    @property
    def name(self) -> str:
        """The name of the platform's file in platforms/, as the command takes it."""

    @property
    def summary(self) -> str:
        """One line for the command's help: what the bundle is."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The values of a manifest's `target` that its devices run; the first is what errors advise."""

    @property
    def families(self) -> tuple[str, ...]:
        """The families whose procedure its templates carry out."""

    @property
    def options(self) -> Mapping[str, str]:
        """Its own options, each with the command's help: `{"onnxruntime-web": "..."}` is `--onnxruntime-web VALUE`."""

    @property
    def golden(self) -> str:
        """Where the bundle keeps golden vectors, relative to its folder; folders above it may exist already."""

    def write(self, order: Order, folder: Path) -> tuple[Notice, ...]:
        """Fill the empty `folder` and return the notices of what others made.

        Golden vectors, NOTICE.md and SIZES.md are not its business. Raises NanoedgeError for what it can't express.
        """


SETTINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nano-banana": (
            "vocabulary", "color_axis", "max_instruction_bytes", "max_instruction_characters", "max_edits",
            "beyond_threshold", "mask", "mask_pixels", "context_pixels", "halo_rows", "strip_pixels",
            "max_upscaled_pixels", "restoration", "restore_axis", "corrections", "faintest", "canvas",
            "local_adjustments", "full_adjustments", "cutting_adjustments", "canvas_adjustments",
        ),
    }
)
"""Members of a manifest's settings that a family's procedure reads, in whatever language it is written."""


def check(platform: Platform, artifact: Artifact) -> None:
    """Raise ArtifactError unless the platform takes artifacts like this one."""
    manifest = artifact.manifest
    if manifest.target not in platform.targets:
        wanted = platform.targets[0]
        article = "an" if wanted[0] in "aeio" else "a"
        raise ArtifactError(
            f"export {platform.name} takes {article} {wanted} artifact", got=f"{manifest.target} ({artifact.folder})",
            hint=f"convert the model with --to {wanted}",
        )
    if manifest.family not in platform.families:
        raise ArtifactError(
            f"export {platform.name} has no procedure for this family", got=manifest.family,
            allowed=", ".join(platform.families), hint="export an artifact of one of these",
        )
    if missing := [name for name in SETTINGS.get(manifest.family, ()) if name not in manifest.settings]:
        raise ArtifactError(
            "the artifact lacks settings that the bundle reads", got=", ".join(missing),
            hint="it is of another version of nanoedge: convert the model again",
        )
