"""Peers that are not installed are left out and named, instead of ending a benchmark of half an hour near its end."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from benchmarks import peers, peers_pictures
from converters.nano_banana.restoration_pairs import CONDITIONS
from edge_runtime.editor import EMBEDDED


def test_every_method_of_denoising_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_pictures, "sibling", lambda recipe: EMBEDDED)  # a float one takes a minute to convert
    pair = CONDITIONS["noise 25"](np.ascontiguousarray(data.astronaut()[:64, :64]), 7)
    methods = peers_pictures._denoisers([pair], threads=1)
    assert len(methods) >= 5
    for name, method in methods.items():
        if name != "CBM3D":  # a minute
            assert method(pair).shape == pair.clean.shape, name


@pytest.mark.parametrize("module", sorted(peers.PACKAGES))
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == module else object())
    (line,) = peers.missing()
    assert f"pip install {peers.PACKAGES[module]}" in line
