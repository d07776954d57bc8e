"""The key of a node that others will reach and that has none yet: made at its first start, shown once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, TextIO

from edge_runtime.errors import StateError
from server.key_store import KeyStore, written_once
from server.keys import Rule

logger = logging.getLogger(__name__)

FILE: Final = "first-key"
"""In the folder for state, where there is no terminal to show the key on."""


def make_first_key(keys: KeyStore, state: Path, to: TextIO) -> None:
    """Make a key and show it on a terminal, or leave it in a file that only the node's user may read.

    A service's output goes to a journal, which more people read and which is kept. Raises StateError, OptionError.
    """
    key, text = keys.create("first", Rule())
    if to.isatty():
        to.write(f"nanoedge: this server had no API keys. Its first one, shown this once:\n\n    {text}\n\n")
        to.flush()
        return
    file = state / FILE
    try:
        file.unlink(missing_ok=True)  # of a node whose keys were deleted
        written_once(file, f"{text}\n".encode())
    except OSError as error:
        keys.revoke(key.id)
        raise StateError(
            "the first API key can't be written", got=f"{file}: {error.strerror}",
            hint="make one with: nanoedge keys create",
        ) from error
    logger.warning("this server had no API keys: its first one is in %s; read it, then delete the file", file)
