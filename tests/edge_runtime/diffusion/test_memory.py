"""The peak memory of an edit, from a manifest alone."""

from __future__ import annotations

import pytest

from edge_runtime.diffusion import memory
from edge_runtime.diffusion.memory import BASE_BYTES, PICTURE_BYTES, RUN_SHARE, SESSION_BYTES, parts, peak_bytes
from edge_runtime.engine import LARGE_RUN_BYTES
from edge_runtime.errors import ArtifactError
from edge_runtime.manifest import Component, Manifest

SMALL, LARGE = 512 * 512, 1024 * 1024
MB = 1_000_000


def entry(opened: int, small: int, large: int, inputs: int = 1000) -> dict[str, object]:
    return {"opened": opened, "work": [[SMALL, inputs, small], [LARGE, inputs, large]]}


def manifest(**entries: object) -> Manifest:
    components = (Component(name="denoiser", file="denoiser.onnx", precision="int8"),)
    settings = {"memory": entries} if entries else {}
    return Manifest(family="tiny", name="tiny", target="onnx", recipe="int8", components=components, settings=settings)


def beside(pixels: int, parts: int) -> int:
    return BASE_BYTES + PICTURE_BYTES * pixels + parts * SESSION_BYTES


def test_alone_the_largest_part_counts_and_together_all_weights_and_what_their_runs_keep() -> None:
    found = manifest(text_encoder=entry(900 * MB, 50 * MB, 50 * MB), denoiser=entry(500 * MB, 100 * MB, 400 * MB))
    sizes = {"width": 1024, "height": 1024}
    assert peak_bytes(found, **sizes, together=False) == beside(LARGE, 1) + 900 * MB + round(RUN_SHARE * 50 * MB)
    assert peak_bytes(found, **sizes, together=True) == (
        beside(LARGE, 2) + 1400 * MB + round(RUN_SHARE * 50 * MB) + round(RUN_SHARE * 400 * MB)
    )


def test_a_large_run_keeps_nothing_so_the_denoiser_behind_it_finds_the_room_free() -> None:
    large = LARGE_RUN_BYTES // 2 + 1
    found = manifest(
        vae_decoder=entry(MB, MB, MB), denoiser=entry(10 * MB, 9 * MB, 9 * MB),
        vae_encoder=entry(MB, 300 * MB, 300 * MB, inputs=large),
    )  # fmt: skip
    # its run is the peak: the denoiser, opened after it, is smaller than what it gave back
    assert peak_bytes(found, 512, 512, together=True) == beside(SMALL, 1) + MB + round(RUN_SHARE * 300 * MB)


@pytest.mark.parametrize("side", [256, 512, 768, 1024, 2048])
@pytest.mark.parametrize("power", [0, 1, 2])
def test_what_grows_as_a_power_of_the_area_is_met_everywhere(side: int, power: int) -> None:
    points = [(area, 3 * area**power) for area in (SMALL, 700 * 700, LARGE)]
    assert memory.between(points, side * side) == pytest.approx(3 * (side * side) ** power)


def test_one_row_is_enough_and_no_row_makes_numbers_that_overflow() -> None:
    assert memory.between([(SMALL, 7)], LARGE) == 7
    assert memory.between([(1000, 1), (1001, 2**53 - 1)], 10**12) < 1e308
    assert memory.between([(1000, 9), (2000, 3)], 4000) == 9  # less for a larger picture: nobody believes it


def test_an_autoencoder_sees_tiles_of_a_large_picture() -> None:
    found = parts(manifest(vae_decoder=entry(MB, 200 * MB, 800 * MB), denoiser=entry(MB, 200 * MB, 800 * MB)).settings)
    assert found["vae_decoder"].working_bytes(2048 * 2048) == found["vae_decoder"].working_bytes(768 * 768)
    assert found["denoiser"].working_bytes(2048 * 2048) > 3 * found["denoiser"].working_bytes(LARGE)


def test_an_artifact_without_figures_has_no_prediction() -> None:
    assert parts(manifest().settings) == {}
    with pytest.raises(ArtifactError, match="no figures of memory"):
        peak_bytes(manifest(), 512, 512, together=True)


@pytest.mark.parametrize(
    "bad",
    [
        7, {"opened": 1}, {"opened": -1, "work": [[1, 1, 1]]}, {"opened": 1, "work": []},
        {"opened": 1, "work": [[1, 2]]}, {"opened": 1, "work": [[1, 0, 2]]}, {"opened": 1, "work": [[1, 1.5, 2]]},
        {"opened": 1, "work": [[SMALL, 1, 2], [SMALL, 1, 2]]}, {"opened": 1, "work": [[LARGE, 1, 2], [SMALL, 1, 2]]},
    ],
)  # fmt: skip
def test_figures_that_make_no_sense_are_refused(bad: object) -> None:
    with pytest.raises(ArtifactError, match=r"[Ss]ettings\.memory\.denoiser"):
        parts(manifest(denoiser=bad).settings)
