"""The one file that the `tokenizers` library needs, from a tokenizer's folder of whatever age."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converters.text_encoders import open_tokenizer
from edge_runtime.errors import ConversionError

NEW: Final = "tokenizer.json"
OLD: Final = ("vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")


def tokenizer_json(folder: Path) -> bytes:
    """Return tokenizer.json of a folder, built from an older vocabulary if it isn't there.

    The same folder gives the same bytes. Raises ConversionError when the files don't make a tokenizer.
    """
    if (folder / NEW).is_file():
        return (folder / NEW).read_bytes()
    # without a vocabulary transformers makes a tokenizer of a few special tokens, and says nothing
    found = any((folder / name).is_file() for name in OLD)
    backend = getattr(open_tokenizer(folder), "backend_tokenizer", None) if found else None
    if backend is None:
        raise ConversionError(
            f"the {folder.name} has no vocabulary that can be read",
            got=", ".join(sorted(entry.name for entry in folder.iterdir())) or "no files",
            allowed=", ".join((NEW, *OLD)),
        )
    return str(backend.to_str()).encode()
