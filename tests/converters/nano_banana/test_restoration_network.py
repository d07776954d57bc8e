"""The restoration network and its training, on tiny crops of scikit-image's photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data

from converters.nano_banana.damage import add_noise
from converters.nano_banana.restoration import TASKS, Calm, RestorationNet, Restore, load, save
from converters.nano_banana.restoration_crops import Batches, Crops
from converters.nano_banana.restoration_pairs import CONDITIONS, in_torch, mean_psnr, psnr
from converters.nano_banana.train_restoration import Run, Settings, learning_rate, loss_of, side_at, train


def awake(deviation: float = 0.05) -> RestorationNet:
    """A network that, unlike a new one, changes photos."""
    torch.manual_seed(0)
    net = RestorationNet()
    torch.nn.init.normal_(net.head.weight, std=deviation)
    return net.eval()


def tile(height: int = 48, width: int = 64) -> torch.Tensor:
    rgb = data.astronaut()[:height, 200 : 200 + width]
    alpha = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    return torch.from_numpy(np.dstack([rgb, alpha]))[None]


def told(**strengths: float) -> torch.Tensor:
    return torch.tensor([[strengths.get(task, 0.0) for task in TASKS]])


def test_the_network_is_small() -> None:
    assert sum(value.numel() for value in RestorationNet().parameters()) <= 600_000


def test_a_new_network_changes_little() -> None:
    torch.manual_seed(0)
    image = tile()
    with torch.no_grad():
        restored = Restore(RestorationNet())(image, told(denoise=1.0))
    assert (restored.float() - image.float()).abs().mean() < 12


def test_calm_areas_are_evened_out_and_the_rest_stays() -> None:
    torch.manual_seed(0)
    photo = torch.full((1, 3, 64, 128), 100.0)
    photo[..., 64:] += 80 * (torch.rand(1, 3, 64, 64) - 0.5)
    noisy = photo + 2 * torch.randn(photo.shape)
    calm = Calm()(noisy, torch.full((1, 1, 1, 1), 3.0))
    assert (calm - photo)[..., :48].std() < 0.5 * (noisy - photo)[..., :48].std()
    assert (calm - noisy)[..., 80:].abs().mean() < 1
    assert (Calm()(noisy, torch.zeros(1, 1, 1, 1)) - noisy).abs().max() < 0.01


def test_without_a_residual_the_photo_stays_exactly() -> None:
    net, image = RestorationNet(), tile()
    for value in net.head.parameters():
        torch.nn.init.zeros_(value)
    with torch.no_grad():
        restored = Restore(net)(image, told(deblur=1.0))
    assert torch.equal(restored[..., :3], image[..., :3])


def test_deep_levels_begin_awake() -> None:
    torch.manual_seed(0)
    net, photo = RestorationNet(), tile(128, 128)[..., :3].permute(0, 3, 1, 2) / 255
    alive = []
    for block in net.blocks():
        block.first.register_forward_hook(
            lambda _, __, output: alive.append((output > 0).any((0, 2, 3)).float().mean())
        )
    with torch.no_grad():
        net(photo, told(denoise=0.5))
    assert min(alive) > 0.9


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 64), (128, 16)])
def test_tiles_keep_size_type_and_alpha(height: int, width: int) -> None:
    image = tile(height, width)
    with torch.no_grad():
        restored = Restore(awake())(image, told(denoise=0.5))
    assert restored.shape == image.shape
    assert restored.dtype == torch.uint8
    assert torch.equal(restored[..., 3], image[..., 3])
    assert not torch.equal(restored[..., :3], image[..., :3])


@pytest.mark.parametrize("strengths", [{}, dict.fromkeys(TASKS, 1.0), {"denoise": 1e-6}, {"upscale": 0.3, "repair": 1}])
def test_odd_strengths_give_pictures(strengths: dict[str, float]) -> None:
    image = tile()
    with torch.no_grad():
        restored = awake()(image[..., :3].permute(0, 3, 1, 2) / 255, told(**strengths))
    assert torch.isfinite(restored).all()


def test_every_strength_matters() -> None:
    image, net = tile(), awake()
    with torch.no_grad():
        photo = image[..., :3].permute(0, 3, 1, 2) / 255
        none = net(photo, told())
        for task in TASKS:
            assert not torch.equal(net(photo, told(**{task: 1.0})), none)


def test_the_exported_form_equals_the_trained_one() -> None:
    image, net = tile(), awake()
    with torch.no_grad():
        bytes_form = Restore(net)(image, told(deblock=0.4))[..., :3].permute(0, 3, 1, 2).float()
        float_form = net(image[..., :3].permute(0, 3, 1, 2) / 255, told(deblock=0.4)).clamp(0, 1) * 255
    assert (bytes_form - float_form).abs().max() <= 0.5 + 1e-2


def test_weights_come_from_their_file_or_a_merged_checkpoint(tmp_path: Path) -> None:
    net = awake()
    save(net, tmp_path / "own.safetensors")
    merged = {f"restore.{name}": value for name, value in load_file(tmp_path / "own.safetensors").items()}
    save_file({**merged, "text.weight": torch.zeros(3)}, tmp_path / "merged.safetensors")
    for name in ("own", "merged"):
        loaded = load(tmp_path / f"{name}.safetensors").state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())


def test_a_step_reaches_every_weight(tmp_path: Path) -> None:
    run = Run(Settings(tmp_path, tmp_path))
    run.net.load_state_dict(awake(0.005).state_dict())
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    run.step(Crops([data.astronaut()], [1.0], 0).batch(4, 32))
    assert all(not torch.equal(before[name], value) for name, value in run.net.state_dict().items())


def test_training_on_one_crop_lowers_its_error(tmp_path: Path) -> None:
    run = Run(Settings(tmp_path, tmp_path))
    run.steps = 1000  # the warm-up is over
    clean = tile(32, 32)[..., :3].permute(0, 3, 1, 2)
    noisy = torch.from_numpy(add_noise(clean.numpy(), 25, np.random.default_rng(0)))
    errors = [run.step((noisy, told(denoise=0.5), clean)) for _ in range(30)]
    assert errors[-1] < 0.9 * errors[0]


def test_a_network_that_blows_up_goes_back_and_slows_down(tmp_path: Path) -> None:
    run = Run(Settings(tmp_path, tmp_path))
    good = run.net.head.bias.detach().clone()
    torch.nn.init.constant_(run.net.head.bias, 1e6)
    assert run.step(Crops([data.astronaut()], [1.0], 0).batch(2, 32)) > 1
    assert torch.equal(run.net.head.bias, good)
    assert (run.steps, run.pace) == (0, 0.7)


def test_the_loss_counts_decibels_of_every_crop_alike() -> None:
    error = torch.full((2, 3, 8, 8), 0.1)
    strong, faint = error.clone(), error.clone()
    strong[0] *= 2
    faint[0] /= 2
    assert loss_of(strong) - loss_of(error) == pytest.approx(float(loss_of(error) - loss_of(faint)), rel=0.02)


def test_the_schedule_warms_up_and_cools_down() -> None:
    assert learning_rate(0.0, 0) < 0.05 * learning_rate(0.0, 1000)
    assert learning_rate(1.0, 1000) < 0.02 * learning_rate(0.0, 1000)
    assert side_at(0.0) < side_at(1.0)


def test_a_side_that_changes_reaches_the_crops() -> None:
    source = Batches(Crops([data.astronaut()], [1.0], 0), 2, 32)
    source.side.fill_(48)
    assert next(iter(source))[0].shape == (2, 3, 48, 48)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[:256, :256]).save(tmp_path / "photos" / f"{name}.jpg")
    short = Settings(tmp_path, tmp_path / "run", minutes=0.01, batch=2)
    train(short)
    first = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["progress"]
    weights = train(Settings(tmp_path, tmp_path / "run", minutes=0.03, batch=2, resume=True))
    seconds, steps, *_ = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["progress"]
    assert steps > first[1]
    assert seconds > first[0]
    assert load(weights)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["noise 25"] == pytest.approx(20.5, abs=1.5)


def test_a_network_without_residual_scores_like_the_damaged_photo() -> None:
    net = RestorationNet()
    for value in net.head.parameters():
        torch.nn.init.zeros_(value)
    pair = CONDITIONS["JPEG q10"](data.coffee()[:64, :64], 0)
    # but for half a grey level in calm areas
    assert mean_psnr(in_torch(net), [pair]) == pytest.approx(psnr(pair.damaged, pair.clean), abs=0.02)
