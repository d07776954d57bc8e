"""What every family's components are expected to need, and the copy of ONNX Runtime's arena."""

from __future__ import annotations

import random
from importlib import import_module

import pytest
from tiny.running import opened

from converters.arena import UNIT_BYTES, Arena
from converters.captured import Use
from converters.memory import opened_bytes, sides_at, work
from converters.recipe import Layer, load_recipe
from converters.streaming import LayerRecord
from edge_runtime import plugins

MIB = 1 << 20
AREA = 256 * 256
FAMILIES = [name for name in plugins.names("converters.pipelines") if name != "umo"]  # Kontext's graphs


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # a scheduler's, with NumPy 2
@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_of_every_family_says_what_a_run_takes_and_most_take_more_for_more_pixels(family, tmp_path):
    import_module(f"tiny.{family}").build(tmp_path / family)
    model = opened(import_module(f"converters.pipelines.{family}").PIPELINE, tmp_path / family)
    for component in model.components:
        assert set(component.working(256, 320)) == set(component.dimensions)
        rows = work(component, AREA)
        assert [row.pixels for row in rows] == [side * side for side in sides_at(AREA)]
        assert all(0 < row.input_bytes < row.run_bytes for row in rows)
        grows = component.name.startswith(("denoiser", "vae_"))
        assert (rows[0].run_bytes < rows[-1].run_bytes) == grows
        if grows:
            assert [row.run_bytes for row in rows] == sorted({row.run_bytes for row in rows})


def test_areas_are_tried_at_sides_that_every_network_halves():
    assert sides_at(1024 * 1024) == (512, 768, 1024, 1536)
    assert sides_at(512 * 512) == (256, 384, 512, 768)


def test_the_arena_takes_the_smallest_gap_and_joins_gaps():
    arena = Arena()
    first, second, third = (arena.take(200 * 1024) for _ in range(3))
    assert arena.touched_bytes == 3 * 200 * 1024 and third.start == 400 * 1024
    arena.give_back(first)
    arena.give_back(second)
    both = arena.take(400 * 1024)
    assert (both.start, both.size) == (0, 400 * 1024) and arena.touched_bytes == 600 * 1024


def test_what_does_not_fit_gets_a_region_of_the_next_power_of_two():
    arena = Arena()
    # 4 MiB for the first, as much for the second, 8 for the next two
    assert [arena.take(3 * MIB).region for _ in range(4)] == [0, 1, 2, 2]
    assert arena.touched_bytes == 12 * MIB


def test_an_arena_that_got_everything_back_is_in_one_piece_again():
    arena, rng, held = Arena(), random.Random(0), []
    for _ in range(2000):
        if held and rng.random() < 0.5:
            arena.give_back(held.pop(rng.randrange(len(held))))
        else:
            held.append(arena.take(rng.randrange(1, MIB)))
            places = sorted((piece.region, piece.start, piece.size) for piece in held)
            assert all(a[0] != b[0] or a[1] + a[2] <= b[1] for a, b in zip(places, places[1:], strict=False))
    for piece in held:
        arena.give_back(piece)
    assert len(arena._keys) == len(arena._touched)
    assert all(start == 0 and size % UNIT_BYTES == 0 for size, _, start in arena._keys)


@pytest.mark.parametrize(
    ("recipe", "precision", "more"),
    [
        ("int8", "int8", 0), ("int4", "int8", 0), ("int4", "int4", 3), ("int4-b128", "int8", 0.375),
        ("int4-b128", "int4", 0.0625),
        ("bf16", "bf16", 2), ("nf4", "nf4", 4),
    ],
)  # fmt: skip
def test_opened_matrices_hold_their_scales_thrice_or_are_unpacked(recipe, precision, more):
    uses = {"w": Use(tensor="w", transposed=True, layer=Layer.MATMUL)}
    layer = LayerRecord(tensor="w", precision=precision, values=16000, snr_db=30)
    assert opened_bytes(80000, uses, [layer], load_recipe(recipe)) == 80000 + 16000 * more


def test_tables_of_words_stay_mapped():
    uses = {"t": Use(tensor="t", transposed=False, layer=Layer.EMBEDDING)}
    layer = LayerRecord(tensor="t", precision="int8", values=1000, snr_db=30)
    assert opened_bytes(1500, uses, [layer], load_recipe("int8")) == 500
