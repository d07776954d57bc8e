"""How much of a picture is accepted. Apart from `images` because `fetch` needs it and decodes nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is accepted: the size of the file in bytes and of the picture in pixels, as its header gives it."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 50_000_000
