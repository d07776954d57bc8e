"""What was measured so far, one JSON object a line, written as it comes: a stop loses the edit that was running."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import OptionError

FILE: Final = "samples.jsonl"
Entry = Mapping[str, Any]


class Journal:
    """The entries of a bench, those of an earlier part of it included. `kind` and the members of a key identify one."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], resume: bool) -> None:
        """Begin the journal in a folder, or go on with the one there; raises OptionError.

        `settings` is JSON that says what is measured: going on with other settings would mix two measurements.
        """
        self._path = folder / FILE
        self.entries: list[Entry] = []
        if resume:
            self._continue(settings)
        else:
            if folder.exists() and any(folder.iterdir()):
                raise OptionError(
                    "there is something in the report's folder",
                    got=folder,
                    hint="go on with an unfinished report by --resume, or name another folder",
                    param="output",
                )
            folder.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"settings": settings}, sort_keys=True) + "\n", encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Keep an entry, on the disk too."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        self.entries.append(entry)

    def of(self, kind: str) -> Iterator[Entry]:
        """Yield the entries of a kind."""
        return (entry for entry in self.entries if entry["kind"] == kind)

    def keys(self, kind: str, *members: str) -> set[tuple[Any, ...]]:
        """Return what identifies the entries of a kind that are there."""
        return {tuple(entry[member] for member in members) for entry in self.of(kind)}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _continue(self, settings: Mapping[str, Any]) -> None:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise OptionError(
                "there is nothing to go on with", got=self._path, hint="leave --resume out", param="resume"
            ) from error
        whole = text[: text.rfind("\n") + 1]  # a line that was cut off is measured again
        if whole != text:
            os.truncate(self._path, len(whole.encode()))
        first, *lines = (json.loads(line) for line in whole.splitlines())
        changed = sorted(
            key for key in {*first["settings"], *settings} if first["settings"].get(key) != settings.get(key)
        )
        if changed:
            raise OptionError(
                "the report in this folder was begun with other settings",
                got=", ".join(changed),
                hint="give the same options and photographs, or name another folder",
                param="resume",
            )
        self.entries += lines
