"""UMO end to end, without torch, against UNO's procedure in torch: diffusers' transformer, LoRAs added by hand.

UNO's own code is not installable, so its sampling is written down here, with the likeliest latents of references for
the ones that it draws.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from painting import SIZES, close, generator, painted, photograph, png
from PIL import Image
from safetensors.torch import load_file
from tiny.artifact import converted
from tiny.umo import add, build, uno_positions, write_loras

from edge_runtime.diffusion.flux import positions
from edge_runtime.diffusion.settings import Settings
from edge_runtime.editor import Editor
from edge_runtime.errors import InstructionError, OptionError
from edge_runtime.families.umo import cut
from edge_runtime.request import EditRequest, Size

WORDS = "the astronaut and the cat on a beach"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flux")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    return write_loras(tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="module")
def artifact(checkpoint, loras, tmp_path_factory):
    return converted(checkpoint, tmp_path_factory.mktemp("artifact"), loras=loras)["fp32"]


@pytest.fixture(scope="module")
def original(checkpoint, loras):
    """FluxPipeline for its parts, the transformer with UNO's weights, and UMO's over them."""
    from diffusers import FluxPipeline

    pipe = FluxPipeline.from_pretrained(checkpoint)
    add(pipe.transformer, {**load_file(loras[0]), **load_file(loras[1])})
    return pipe


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_paints_as_uno(artifact, original, size, count):
    shown = [photograph(*size), photograph(300, 201, "chelsea")][:count]
    wanted = uno(original, shown, WORDS, size, steps=3)
    actual = painted(artifact, shown, WORDS, size, seed=7, steps=3)
    assert close(actual, wanted)
    assert wanted.std() > 0.05


@pytest.mark.slow
def test_the_order_of_pictures_counts(artifact):
    size, shown = (128, 128), [photograph(128, 128), photograph(128, 128, "coffee")]
    there, back = (painted(artifact, order, WORDS, size, seed=7, steps=1) for order in (shown, shown[::-1]))
    assert np.abs(there - back).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instruction": "snow " * 150}, InstructionError, r"too long.*\d+ tokens.*at most 512"),
        ({"size": Size(width=48, height=48)}, OptionError, r"can't paint at this size.*48 x 48.*64 to 1024"),
        ({"size": Size(width=1200, height=1200)}, OptionError, "can't paint at this size.*1200 x 1200"),
        ({"mask": b"any"}, OptionError, "makes a new picture and can't edit only a part"),
        ({"negative": "people"}, OptionError, "can't be told what not to show"),
        ({"references": (b"",) * 4}, OptionError, "Too many pictures.*Got 5.*at most 4"),
    ],
    ids=["words", "small", "large", "mask", "negative", "pictures"],
)
def test_what_cannot_be_asked_for(artifact, options, error, message):
    request = EditRequest(image=png(photograph(128, 128)), **{"instruction": WORDS, "steps": 2, **options})
    with Editor.open(artifact, threads=1) as editor:
        with pytest.raises(error, match=message):
            editor.edit(request)
        assert not editor._model.components._sessions  # refused before anything costly


@pytest.mark.slow
def test_the_photo_gives_the_proportions_without_a_box(artifact):
    with Editor.open(artifact, threads=1) as editor:
        assert editor._model.sizes.target((600, 400), None) == (928, 624)
        assert editor._model.sizes.target((100, 100), None) == (768, 768)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (333, 1000), (512, 512), (90, 77)])
@pytest.mark.parametrize("side", [512, 320])
def test_references_are_cut_as_by_uno(size, side):
    picture = photograph(*size)
    assert np.array_equal(np.asarray(cut(picture, side, 16)), np.asarray(uno_reference(picture, side)))


def test_a_strip_is_refused():
    with pytest.raises(OptionError, match="picture is too small for this model"):
        cut(photograph(1000, 20), 512, 16)


def test_references_stand_on_a_diagonal():
    grids = [(4, 6), (5, 3), (2, 7)]
    places = positions(grids, Settings({"first": 0, "step": 0, "diagonal": True}))
    assert np.array_equal(places, uno_positions(grids[0], grids[1:]))


@torch.inference_mode()
def uno(pipe, shown: list[Image.Image], words: str, size: tuple[int, int], steps: int) -> np.ndarray:
    """Return what UNO paints with seed 7, (3, height, width) in 0..1."""
    width, height = size
    side = 512 if len(shown) == 1 else 320
    planes = [torch.from_numpy(np.array(uno_reference(picture, side))).permute(2, 0, 1)[None] for picture in shown]
    latents = [scaled(pipe, pipe.vae.encode(picture / 255 * 2 - 1).latent_dist.mode()) for picture in planes]
    channels = pipe.vae.config.latent_channels
    noise = torch.randn(1, channels, height // 8, width // 8, generator=generator(7))
    grids = [(part.shape[2] // 2, part.shape[3] // 2) for part in (noise, *latents)]
    target, *references = (torch.nn.functional.pixel_unshuffle(part, 2).flatten(2).mT for part in (noise, *latents))
    embeddings, pooled, text_places = pipe.encode_prompt(words, words, max_sequence_length=512)
    places = torch.from_numpy(uno_positions(grids[0], grids[1:])).float()
    levels = uno_levels(steps, width // 8 * (height // 8) // 256)
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        prediction = pipe.transformer(
            hidden_states=torch.cat((target, *references), dim=1),
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            timestep=torch.tensor([level]),
            guidance=torch.tensor([4.0]),
            txt_ids=text_places,
            img_ids=places,
            return_dict=False,
        )[0][:, : target.shape[1]]
        target = target + (following - level) * prediction
    spread = torch.nn.functional.pixel_shuffle(target.mT.unflatten(2, grids[0]), 2)
    raw = spread / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
    return (pipe.vae.decode(raw).sample[0] / 2 + 0.5).clamp(0, 1).numpy()


def scaled(pipe, raw: torch.Tensor) -> torch.Tensor:
    return (raw - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor


def uno_levels(steps: int, tokens: int) -> list[float]:
    """Return the noise levels: evenly from 1 to 0, shifted by a line through (256, 0.5) and (4096, 1.15)."""
    shift = math.exp(0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256))
    even = [1 - step / steps for step in range(steps)]
    return [*(shift / (shift + 1 / level - 1) for level in even), 0.0]


def uno_reference(picture: Image.Image, side: int) -> Image.Image:
    """Resize the long side and cut the middle out, to multiples of 16."""
    scale = side / max(picture.size)
    small = picture.resize(tuple(int(scale * length) for length in picture.size), Image.Resampling.LANCZOS)
    left, top = small.width % 16 // 2, small.height % 16 // 2
    return small.crop((left, top, left + small.width // 16 * 16, top + small.height // 16 * 16))
