"""Which edits a bench makes: every case on one photograph, both languages of a wish on the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from converters.bench.photographs import Photograph, Picture, damaged, decoded, encoded, even
from converters.bench.suite import Case


@dataclass(frozen=True, kw_only=True)
class PhotoEdit:
    """One case on one photo. `pixels` is the photo as it is sent, `clean` as it was before any damage."""

    case: Case
    photo: Photograph

    @property
    def name(self) -> str:
        """Return what identifies it in a report."""
        return f"{self.case.id}/{self.photo.stem}"

    @property
    def clean(self) -> Picture:
        """Return the photo undamaged, uint8 (height, width, 3)."""
        return self.photo.pixels if self.case.damage is None else even(self.photo.pixels)

    @cached_property
    def data(self) -> bytes:
        """Return the photo as it is sent: a camera's JPEG; what was damaged on purpose as PNG, so that it stays so."""
        if self.case.damage is None:
            return encoded(self.clean, lossless=False)
        return encoded(damaged(self.clean, self.case.damage), lossless=True)

    @cached_property
    def pixels(self) -> Picture:
        """Return what a model sees of it, uint8 (height, width, 3)."""
        return decoded(self.data)


def edits_of(cases: Sequence[Case], photos: Sequence[Photograph]) -> tuple[PhotoEdit, ...]:
    """Return the edits: wishes take the photographs in turns."""
    wishes = list(dict.fromkeys(case.wish for case in cases))
    turn = {wish: number % len(photos) for number, wish in enumerate(wishes)}
    return tuple(PhotoEdit(case=case, photo=photos[turn[case.wish]]) for case in cases)
