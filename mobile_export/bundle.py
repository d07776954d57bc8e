"""Writing a bundle: checks, the platform's own files, golden vectors, notices, sizes, and then the rename."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.artifact import PARTIAL_SUFFIX
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
    with _partial_folder(folder) as partial:
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


@contextmanager
def _partial_folder(destination: Path) -> Iterator[Path]:
    """Give a new sibling of `destination`, which is gone afterwards unless it was renamed."""
    if os.path.lexists(destination):  # a rename would silently replace an empty folder
        raise OptionError(
            "the destination exists already", got=destination, hint="choose another name, or delete it first"
        )
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        partial.mkdir(parents=True)
        yield partial
    except OSError as error:
        raise OptionError(f"the bundle {destination} can't be written", got=error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
