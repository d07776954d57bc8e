"""The vision network and its training, on small synthetic data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_stand_ins import picture, some_pictures
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from converters.nano_banana.augmentation import Augmenter
from converters.nano_banana.photos import Pictures
from converters.nano_banana.train_vision import Run, Settings, learning_rate, mask_loss, mean_iou, side_at, train
from converters.nano_banana.vision import DenseBlock, Masks, SubjectNet, attached, filled, load, save, start_from


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return some_pictures()


def test_masks_of_a_photograph_are_soft_and_of_its_size() -> None:
    photo = torch.from_numpy(np.asarray(Image.fromarray(data.astronaut()).resize((256, 256))).copy())[None]
    net = SubjectNet()
    pixels = photo.permute(0, 3, 1, 2).float()
    with torch.no_grad():
        subject, skin = Masks(net).eval()(photo)
        both = torch.sigmoid((net(pixels) + net(pixels.flip(3)).flip(3)) / 2)
        mirrored, _ = Masks(net)(photo.flip(2))
    assert subject.shape == skin.shape == (1, 1, 256, 256) and both.shape == (1, 2, 256, 256)
    assert torch.allclose(subject, mirrored.flip(3), atol=1e-5)
    decided = ((filled(both[:, :1]) - 0.5) * 2.5 + 0.5).clamp(0, 1)
    assert torch.allclose(subject, decided, atol=3e-5) and (skin <= subject).all()
    assert torch.allclose(skin, torch.minimum(both[:, 1:], subject), atol=1e-5)
    assert subject.dtype == skin.dtype == torch.float32 and 0 <= skin.min() < subject.max() <= 1


def test_network_is_small_and_has_only_cheap_kernels() -> None:
    net = SubjectNet()
    assert sum(value.numel() for value in net.parameters()) < 2_000_000
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    assert {module.kernel_size for module in convolutions} == {(1, 1), (3, 3)}


@pytest.mark.parametrize("prefix", ["", "vision."])
def test_weights_come_back_from_their_file_and_from_the_merged_one(tmp_path: Path, prefix: str) -> None:
    net = SubjectNet().eval()
    save(net, tmp_path / "vision.safetensors")
    if prefix:
        merged = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
        others = {"text.weight": torch.ones(1), "correction.head.weight": torch.ones(1)}
        save_file({**merged, **others}, tmp_path / "vision.safetensors")
    photo = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "vision.safetensors")(photo), net(photo))


def test_schedule_warms_up_and_ends_near_zero(tmp_path: Path) -> None:
    assert learning_rate(0.0, 0) < 1e-4 < learning_rate(0.0, 1000)
    assert learning_rate(1.0, 9000) < 1e-4
    assert [side_at(fraction) for fraction in (0.0, 0.5, 1.0)] == [160, 192, 256]
    cold, warm = (Settings(tmp_path, tmp_path, start=start) for start in (None, tmp_path / "vision.safetensors"))
    assert warm.peak_rate < cold.peak_rate and side_at(0.7, warm.sides) == 256 > side_at(0.7, cold.sides)


def test_skin_that_nobody_labelled_teaches_nothing() -> None:
    logits = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    masks = torch.zeros(2, 2, 32, 32)
    masks[:, :, 8:24, 8:24] = 1
    known = torch.ones(2, 32, 32)
    known[1] = 0
    mask_loss(logits, masks, known).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1].any() and not logits.grad[1, 1].any() and logits.grad[1, 0].any()


def test_steps_learn_a_batch(tmp_path: Path, pictures: Pictures) -> None:
    run = Run(Settings(data=tmp_path, out=tmp_path, seed=1))
    photos, masks = Augmenter(pictures, torch.Generator().manual_seed(0)).batch(8, 64)
    losses = [run.step(photos, masks) for _ in range(40)]
    assert losses[-1] < 0.75 * losses[0]
    assert 0 <= mean_iou(run.average, [picture(0)]) <= 1


def test_a_warm_start_takes_the_weights_of_a_file(tmp_path: Path) -> None:
    net = SubjectNet()
    save(net, tmp_path / "first.safetensors")
    run = Run(Settings(data=tmp_path, out=tmp_path, start=tmp_path / "first.safetensors"))
    assert all(torch.equal(value, run.net.state_dict()[name]) for name, value in net.state_dict().items())
    assert run.steps == 0 and run.net.training and not run.average.training


def test_a_network_with_fewer_blocks_goes_on_as_it_was(tmp_path: Path) -> None:
    net = SubjectNet().eval()
    for block in (module for module in net.modules() if isinstance(module, DenseBlock)):
        torch.nn.init.ones_(block.second[1].weight)
    torch.nn.init.zeros_(net.stage16[3].second[1].weight)
    fewer = {name: value for name, value in net.state_dict().items() if not name.startswith("stage16.3.")}
    save_file(fewer, tmp_path / "fewer.safetensors")
    photo = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        assert torch.equal(start_from(tmp_path / "fewer.safetensors").eval()(photo), net(photo))
    save_file({name: value for name, value in fewer.items() if name != "head.weight"}, tmp_path / "cut.safetensors")
    with pytest.raises(RuntimeError, match=r"head\.weight"):
        start_from(tmp_path / "cut.safetensors")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_training_stops_in_time_stores_its_weights_and_goes_on(tmp_path: Path, pictures: Pictures) -> None:
    with (tmp_path / "pictures.npz").open("wb") as file:
        np.savez(file, pixels=pictures.pixels, groups=np.array(pictures.groups))
    short = Settings(data=tmp_path, out=tmp_path, minutes=0.03, batch=2)
    weights = train(short)
    assert load(weights)(torch.zeros(1, 3, 64, 64)).isfinite().all()
    longer = Settings(data=tmp_path, out=tmp_path, minutes=0.06, batch=2, resume=True)
    run = Run(longer)
    run.restore()
    assert 0.4 < run.fraction <= 1 and run.steps > 0
    train(longer)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) >= 2


def test_parts_that_hang_on_nothing_sure_are_dropped():
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:200, 40:120] = 0.999  # the subject
    mask[..., 100:140, 120:180] = 0.6  # its arm, unsure but attached
    mask[..., 20:60, 200:240] = 0.9  # something else
    held = attached(mask)
    assert float(held[..., 20:60, 200:240].max()) == 0
    kept = held.clone()
    kept[..., 20:60, 200:240] = mask[..., 20:60, 200:240]
    assert torch.equal(kept, mask)


def test_a_bridge_is_as_strong_as_its_weakest_part():
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:200, 40:120] = 0.999
    mask[..., 100:140, 120:180] = 0.2
    mask[..., 100:140, 180:220] = 0.9
    held = attached(mask)
    assert float(held[..., 104:136, 184:216].max()) == pytest.approx(0.2)


def test_a_mask_that_is_hardly_sure_stays_as_it_is():
    mask = torch.rand(1, 1, 256, 256) * 0.9
    mask[..., :16, :16] = 0.999
    assert torch.equal(attached(mask), mask)


def test_unsure_holes_are_filled_and_sure_ones_stay():
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 40:220, 40:220] = 0.999
    mask[..., 80:100, 80:100] = 0.3  # a window mirrored in a visor
    mask[..., 140:180, 140:180] = 0.01  # between arm and body
    held = filled(mask)
    assert float(held[..., 80:100, 80:100].min()) == pytest.approx(0.999)
    kept = held.clone()
    kept[..., 80:100, 80:100] = mask[..., 80:100, 80:100]
    assert torch.allclose(kept, mask, atol=1e-6)


def test_what_is_unsure_at_the_edge_of_the_picture_is_no_hole():
    mask = torch.full((1, 1, 256, 256), 0.4)
    mask[..., 60:200, 60:200] = 0.999
    assert torch.allclose(filled(mask), mask, atol=1e-6)


def test_masks_are_decided_and_skin_is_never_more_than_subject():
    torch.manual_seed(0)
    photo = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    net = SubjectNet().eval()
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([4.0, -4.0]))
        subject, skin = Masks(net)(photo)
    assert float(subject.min()) == 1.0, "a chance of 0.98 is the subject"
    assert 0 < float(skin.max()) < 0.2 and bool((skin <= subject).all())
