"""What a result is compared with: the wanted picture, the plan by its definition, the subject's mask.

Definitions (`converters.nano_banana.definitions`) speak of the whole photo, in float64. A plan that names a region,
restores or moves the canvas has none, and nothing is made up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import ndimage

from converters.bench.edits import PhotoEdit
from converters.bench.photographs import Mask, Picture, encoded, on_white
from converters.bench.suite import Keep
from converters.nano_banana import definitions
from converters.nano_banana.vocabulary import vocabulary
from edge_runtime.generators import finished
from edge_runtime.plan import Edit
from edge_runtime.request import EditRequest
from edge_runtime.worker_editor import WorkerEditor

_DEFINED: Final = frozenset(name for stage in definitions.STAGES for name in stage)
_CUT_OUT: Final = {"edits": [{"adjust": "remove", "amount": 1.0, "region": "background"}]}
_MARGIN: Final = 0.015
"""Of the long side: what lies so near the subject's edge belongs to neither side, for masks are soft there."""


def wanted(edit: PhotoEdit) -> Picture | None:
    """Return the picture that was asked for; None when no definition says how it looks."""
    if not edit.case.plan:
        return edit.pixels  # nobody can do it: the photo should stay as it is
    if edit.case.damage is not None:
        return edit.clean if all(change.adjust not in _DEFINED for change in edit.case.plan) else None
    return defined(edit.pixels, edit.case.plan)


def defined(pixels: Picture, plan: Sequence[Edit]) -> Picture | None:
    """Return what a plan makes of a photo by definition; None when there is no definition for all of it."""
    looks = {name for adjustment in vocabulary().adjustments if adjustment.mix for name in (adjustment.name,)}
    amounts: dict[str, float] = {}
    for change in plan:
        mix = vocabulary().adjustment(change.adjust).mix if change.adjust in looks else {change.adjust: 1.0}
        if change.region != "all" or not _DEFINED.issuperset({*mix}):
            return None
        amounts[change.adjust] = change.amount
    picture = definitions.apply(pixels / 255.0, amounts) if amounts else pixels / 255.0
    return np.rint(255.0 * picture).astype(np.uint8)


def subject_of(model: WorkerEditor, pixels: Picture) -> Mask | None:
    """Return the model's mask of the subject: the opacity that removing the background leaves; None without masks."""
    names = {adjustment.name for adjustment in model.vocabulary.adjustments}
    if "remove" not in names:
        return None
    request = EditRequest(image=encoded(pixels, lossless=True), plan=_CUT_OUT, output_format="png")
    return on_white(finished(model.steps(request)).image)[1]


def kept(keep: Keep, subject: Mask | None, pixels: Picture) -> Mask | None:
    """Return 1 where nothing may change, float32 (height, width); None where all may, or nobody knows the subject."""
    if keep is Keep.NOTHING:
        return None
    if keep is Keep.EVERYTHING:
        return np.ones(pixels.shape[:2], np.float32)
    if subject is None:
        return None
    inside = subject > 0.5 if keep is Keep.SUBJECT else subject < 0.5
    margin = max(1, round(_MARGIN * max(pixels.shape[:2])))
    return np.asarray(ndimage.binary_erosion(inside, iterations=margin), np.float32)
