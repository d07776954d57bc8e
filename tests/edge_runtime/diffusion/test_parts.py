"""The parts of painting models that need no checkpoint: sizes, latents, tiles, previews, settings, memory."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from edge_runtime.diffusion import pictures
from edge_runtime.diffusion.autoencoder import Autoencoder
from edge_runtime.diffusion.components import Components
from edge_runtime.diffusion.latents import LatentSpace, folded, unfolded
from edge_runtime.diffusion.pictures import SizeRule, by_area
from edge_runtime.diffusion.preview import ColourMap
from edge_runtime.diffusion.settings import Settings
from edge_runtime.errors import ArtifactError, OptionError
from edge_runtime.generators import finished
from edge_runtime.progress import EditProgress, duration
from edge_runtime.request import Size, Step


def rule(**members: object) -> SizeRule:
    return SizeRule.read(Settings({"multiple": 16, "area": 512 * 512, **members}))


@pytest.mark.parametrize(
    ("photo", "box", "expected"),
    [
        ((4000, 3000), None, (576, 432)),
        ((300, 200), None, (624, 416)),  # enlarged: the model was trained at the area
        ((300, 200), Size(width=200, height=200), (192, 128)),
        ((100, 400), Size(width=1024, height=1024), (256, 1024)),
    ],
)
def test_results_have_the_photos_proportions(photo, box, expected):
    assert rule().target(photo, box) == expected


def test_small_photos_stay_small_where_the_model_allows():
    assert rule(enlarges=False).target((300, 200), None) == (288, 192)
    assert rule(enlarges=False).target((3000, 2000), None) == (624, 416)


@pytest.mark.parametrize(
    ("photo", "box", "hint"),
    [((5000, 100), None, "long and narrow"), ((500, 500), Size(width=32, height=32), "--size"),
     ((500, 500), Size(width=4096, height=4096), "sides of 64 to 2048")],
)  # fmt: skip
def test_sizes_that_no_one_can_paint_are_one_clear_error(photo, box, hint):
    with pytest.raises(OptionError, match=hint) as error:
        rule().target(photo, box)
    assert error.value.param == "size"


def test_areas_keep_proportions():
    for width, height in ((640, 480), (1, 3), (4032, 3024)):
        wide, high = by_area(width, height, 1024 * 1024, 32)
        assert wide % 32 == high % 32 == 0 and abs(wide * high / 1024**2 - 1) < 0.05
        assert abs(wide / high / (width / height) - 1) < 0.05


def test_patches_fold_and_unfold():
    latents = np.random.default_rng(0).standard_normal((1, 3, 4, 6)).astype(np.float32)
    tokens = folded(latents, 2)
    assert tokens.shape == (1, 6, 12)
    assert np.array_equal(tokens[0, 1, :4], latents[0, 0, :2, 2:4].ravel())
    assert np.array_equal(unfolded(tokens, 2, 3, 2), latents)


@pytest.mark.parametrize("statistics", [{"scale": 0.5, "shift": 0.1}, {"mean": [0.1] * 8, "std": [2.0] * 8}])
def test_latents_come_back(statistics):
    space = LatentSpace.read(Settings({"channels": 2, "compression": 8, "patch": 2, **statistics}))
    raw = np.random.default_rng(0).standard_normal((1, 2, 4, 6)).astype(np.float32)
    tokens = space.tokens(raw)
    assert tokens[0, 0, 0] == pytest.approx((raw[0, 0, 0, 0] - 0.1) / 2)
    assert np.allclose(space.raw(tokens, 32, 48), raw, atol=1e-6)


@pytest.mark.parametrize(
    ("members", "message"),
    [({}, "ettings.steps is missing"), ({"steps": 0}, "whole number"), ({"steps": "4"}, "whole number"),
     ({"steps": True}, "whole number")],
)  # fmt: skip
def test_settings_that_are_wrong_say_where(members, message):
    with pytest.raises(ArtifactError, match=message):
        Settings(members).whole("steps")


class Local:
    """An autoencoder of 8 x 8 blocks: each pixel of a block is a latent and back, blurred with its neighbours."""

    def __init__(self) -> None:
        self.sides: list[tuple[int, int]] = []

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        if name == "vae_encoder":
            image = inputs["image"]
            self.sides.append(image.shape[2:])
            height, width = (side // 8 for side in image.shape[2:])
            return {"latents": image.reshape(1, 3, height, 8, width, 8).mean((3, 5))}
        latents = inputs["latents"]
        self.sides.append(latents.shape[2:])
        padded = np.pad(latents, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        blurred = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + 2 * latents) / 4
        return {"image": blurred.repeat(8, 2).repeat(8, 3)}


def decoded(autoencoder: Autoencoder, latents: np.ndarray) -> tuple[np.ndarray, list[float]]:
    shares: list[float] = []
    return finished(autoencoder.decode(latents), shares.append), shares


@pytest.mark.parametrize("size", [(1536, 1024), (800, 2048), (776, 768), (2000, 1992)])
def test_tiles_give_the_same_without_seams(size):
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
    whole, cut = Local(), Local()
    at_once, tiled = Autoencoder(whole, 8, 10**9), Autoencoder(cut, 8, 700 * 700)
    latents = at_once.encode(photo)
    assert np.allclose(tiled.encode(photo), latents, atol=1e-6)
    (expected, _), (actual, shares) = decoded(at_once, latents), decoded(tiled, latents)
    inner = np.s_[:, :, 8:-8, 8:-8]
    # tiles lack a neighbour at their borders, where their weight is least: a seam would be a jump of its own
    assert np.abs(actual - expected)[inner].max() < 0.02
    assert shares == sorted(shares) and len(shares) > 1
    assert max(max(side) for side in cut.sides) <= 768


def test_a_preview_shows_the_photos_colours():
    photo = Image.fromarray(data.astronaut())
    small = np.asarray(photo.resize((64, 64), Image.Resampling.BOX), np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    mixed = np.einsum("oc,bchw->bohw", np.random.default_rng(0).standard_normal((4, 3)), small).astype(np.float32)
    colours = ColourMap(mixed, photo)
    shown = colours(mixed)
    assert shown.shape == (64, 64, 4)
    assert np.abs(shown[..., :3] - (small[0].transpose(1, 2, 0) + 1) * 127.5).mean() < 3
    assert (colours(mixed * np.nan)[..., 3] == 255).all()  # an early look never fails


def test_parts_share_the_room_they_have(monkeypatch):
    sizes = {"text_encoder": 100, "denoiser": 70, "vae_decoder": 10}
    log: list[str] = []

    def opened(path, component, *, threads, device, seldom):
        assert seldom == (component.name == "text_encoder")
        log.append(f"open {component.name}")
        return SimpleNamespace(run=lambda inputs: {}, close=lambda: log.append(f"close {component.name}"))

    manifest = SimpleNamespace(
        components=[SimpleNamespace(name=name, total_bytes=size) for name, size in sizes.items()],
        component=lambda name: SimpleNamespace(name=name, total_bytes=sizes[name]), settings={},
    )
    artifact = SimpleNamespace(manifest=manifest, path=lambda name: name)
    monkeypatch.setattr(
        Components, "_fits", lambda self, wanted, working: wanted + sum(map(self._bytes, self._sessions)) <= 120
    )
    parts = Components(artifact, SimpleNamespace(open=opened), threads=1, device="cpu")
    for name in ("text_encoder", "vae_decoder", "denoiser", "vae_decoder", "text_encoder"):
        parts.run(name)
    parts.close()
    assert log == [
        "open text_encoder", "open vae_decoder", "close text_encoder", "open denoiser", "close denoiser",
        "open text_encoder", "close vae_decoder", "close text_encoder",
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "closed"), [(512, False), (1024, True)])
def test_a_part_is_closed_when_the_figures_say_that_a_run_at_this_size_needs_the_room(side, closed):
    megabyte = 1_000_000
    work = [[512 * 512, 1000, 50 * megabyte], [1024 * 1024, 1000, 400 * megabyte]]
    needs = {name: {"opened": 100 * megabyte, "work": work} for name in ("text_encoder", "denoiser")}
    log: list[str] = []

    def opened(path, component, *, threads, device, seldom):
        return SimpleNamespace(run=lambda inputs: {}, close=lambda: log.append(path))

    manifest = SimpleNamespace(component=lambda name: None, settings={"memory": needs})
    artifact = SimpleNamespace(manifest=manifest, path=lambda name: name)
    bound = 500 * megabyte
    parts = Components(artifact, SimpleNamespace(open=opened), threads=1, device="cpu", memory_bytes=bound)
    parts.pixels = side * side
    for name in needs:
        parts.run(name)
    assert log == (["text_encoder"] if closed else [])


def test_pixels_that_are_no_numbers_are_no_picture():
    with pytest.raises(ArtifactError, match="no numbers"):
        pictures.from_planes(np.full((1, 3, 8, 8), np.nan, np.float32))


def test_transparent_photos_are_put_on_white():
    pixels = np.zeros((4, 4, 4), np.uint8)
    assert np.asarray(pictures.picture_of(pixels)).min() == 255


def test_progress_tells_steps_and_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    screen = StringIO()
    show = EditProgress(screen)
    for step in (Step(stage="decode", fraction=0), Step(stage="text", fraction=0.1)):
        show(step)
    for done in range(4):
        show(Step(stage="denoise", fraction=0.2 + done / 10, done=done, steps=4))
        now[0] += 10
    lines = screen.getvalue().splitlines()
    assert lines == [
        "reading the instruction", "step 0 of 4", "step 1 of 4, 30 s left", "step 2 of 4, 20 s left",
        "step 3 of 4, 10 s left",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (8, 200, 5000)] == ["8 s", "3 min 20 s", "1 h 23 min"]
