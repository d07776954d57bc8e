"""Writing a bundle: checks, the platform's own files, golden vectors, notices, sizes, and then the rename."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.artifact_writer import partial_folder
from edge_runtime.errors import OptionError
from mobile_export import notices, sizes
from mobile_export.platform import Golden, Order, Platform, check


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A folder that has been written, and what its files take."""

    folder: Path
    sizes: tuple[sizes.FileSize, ...]


def export(platform: Platform, order: Order, destination: Path, golden: Golden) -> Bundle:
    """Write a bundle, which appears at once and complete, or not at all.

    Raises ArtifactError for an artifact that the platform can't take, OptionError for a destination that exists or
    can't be written, and what the platform and `golden` raise.
    """
    check(platform, order.artifact)
    folder = Path(os.path.abspath(destination))
    with partial_folder(folder, "bundle", OptionError) as partial:
        parts = platform.write(order, partial)
        (partial / platform.golden).mkdir(parents=True)
        golden(partial / platform.golden)
        manifest = order.artifact.manifest
        notices.write_notice(partial, notices.notice(manifest, order.artifact.version, parts))
        measured = sizes.measured(partial)
        report = f"# Sizes\n\n{sizes.table(measured)}\n\n{sizes.listing(measured)}\n"
        (partial / "SIZES.md").write_text(report, encoding="utf-8")
        partial.rename(folder)
    return Bundle(folder=folder, sizes=measured)
