"""Fetches a pipeline in diffusers layout from the Hugging Face Hub into huggingface_hub's own cache."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from converters.shards import by_preference
from edge_runtime.errors import ConversionError

PREFIX: Final = "hf:"
LONGEST_WAIT_SECONDS: Final = 10.0
"""For the list of files; the files themselves may take as long as they need."""

_SPEC: Final = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_SMALL: Final = (".json", ".txt", ".model", ".jinja")
_ROOT: Final = ("model_index.json", "README.md")
_OF_VARIANT: Final = re.compile(
    r"[^.]+\.(?P<variant>[^.]+)\.safetensors(\.index\.json)?|.+\.index\.(?P<late>[^.]+)\.json"
)

logger = logging.getLogger(__name__)


def fetch(spec: str) -> tuple[Path, str]:
    """Return the folder of `hf:owner/name[@revision]` and the same with the commit that the revision stands for.

    Only what a conversion reads is fetched: small files, and of each component's weights one variant. Without a network
    an earlier download is taken. Raises ConversionError.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ConversionError(
            "the name of a checkpoint on the Hub can't be used",
            got=spec,
            allowed="hf:OWNER/NAME or hf:OWNER/NAME@REVISION",
        )
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import httpx

    repository, revision = match["repository"], match["revision"]
    try:
        info = HfApi().repo_info(repository, revision=revision, timeout=LONGEST_WAIT_SECONDS)
        wanted = wanted_files(sibling.rfilename for sibling in info.siblings or ())
        folder = snapshot_download(repository, revision=revision, allow_patterns=wanted)
    except GatedRepoError as error:
        raise ConversionError(
            f"the checkpoint {repository} is gated: its licence must be accepted first",
            hint=f"accept it at huggingface.co/{repository}, then run `hf auth login`",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ConversionError(
            "the Hub has no such checkpoint", got=spec, hint="check the name; a private one needs `hf auth login`"
        ) from error
    except (httpx.HTTPError, OSError) as error:
        folder = _downloaded(spec, repository, revision, error)
    path = Path(folder)
    return path, f"{PREFIX}{repository}@{path.name}"


def wanted_files(names: Iterable[str]) -> list[str]:
    """Return the files of a repository that a conversion reads."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, slash, file = name.partition("/")
        if slash and "/" not in file:
            folders.setdefault(folder, []).append(file)
        elif name in _ROOT:
            folders.setdefault("", []).append(name)
    return sorted(
        f"{folder}/{file}".removeprefix("/") for folder, files in folders.items() for file in _chosen(folder, files)
    )


def _chosen(folder: str, files: list[str]) -> list[str]:
    if not folder:
        return files
    best = by_preference(files)
    skipped: set[str] = set()
    if best and _variant(best[0]) == "":
        skipped = {file for file in files if _variant(file)}
    return [file for file in files if file.endswith((".safetensors", *_SMALL)) and file not in skipped]


def _variant(file: str) -> str:
    match = _OF_VARIANT.fullmatch(file)
    return "" if match is None else match["variant"] or match["late"]


def _downloaded(spec: str, repository: str, revision: str | None, cause: Exception) -> str:
    """Return the folder of an earlier download."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # whether weights are complete is found out when they are opened
        folder = snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=["model_index.json"]
        )
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ConversionError(
            f"the checkpoint {spec} can't be fetched",
            got=cause,
            hint="check the network and HF_ENDPOINT, or download the folder elsewhere and name it instead",
        ) from error
    logger.warning("the Hub can't be reached; taking the earlier download of %s in %s", spec, folder)
    return str(folder)
