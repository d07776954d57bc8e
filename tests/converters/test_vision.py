"""The vision network, its pictures and its training, on small synthetic data and scikit-image's photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from converters.nano_banana.augmentation import Augmenter
from converters.nano_banana.degradation import degrade, jitter_colour
from converters.nano_banana.photos import (
    Labelled,
    Pictures,
    beside_the_subject,
    cut_from_plain_ground,
    decode,
    held_out_pictures,
    intersection_over_union,
    listed,
    split,
)
from converters.nano_banana.train_vision import Run, Settings, learning_rate, mean_iou, side_at, train
from converters.nano_banana.vision import MASK_NAMES, SubjectMask, SubjectNet, load, save

SIDE = 96


def disc(side: int, x: float, y: float, radius: float) -> np.ndarray:
    """A filled circle, bool (side, side); all in parts of the side."""
    rows, columns = np.mgrid[:side, :side] / side
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def picture(seed: int) -> np.ndarray:
    """Planes of a photograph with a bright disc as its subject, the upper half of it skin."""
    random = np.random.default_rng(seed)
    photo = data.coffee() if seed % 2 else data.rocket()
    planes = np.zeros((5, SIDE, SIDE), np.uint8)
    planes[:3] = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE))).transpose(2, 0, 1)
    subject = disc(SIDE, *random.uniform(0.3, 0.7, 2), 0.2)
    planes[:3, subject] = random.integers(150, 255, (3, 1))
    planes[3] = subject * 255
    planes[4, : SIDE // 2] = planes[3, : SIDE // 2]
    return planes


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    planes = [picture(seed) for seed in range(6)]
    planes += [np.concatenate([p[:3], np.zeros_like(p[3:])]) for p in planes[:2]]
    groups = ("ccp", "ccp", "ccp", "feral_cat", "plain_ground", "dali_pixelwise", "background", "street")
    return Pictures(np.stack(planes), groups)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with seg/ccp: eight photographs, their masks and labels; the last is a mirrored first."""
    for kind in ("images", "masks", "labels"):
        (tmp_path / "seg" / "ccp" / kind).mkdir(parents=True)
    random = np.random.default_rng(0)
    coarse = [Image.fromarray(random.integers(0, 255, (6, 4, 3), np.uint8)) for _ in range(7)]
    photos = [np.asarray(image.resize((60, 90))) for image in coarse]
    for index, photo in enumerate([*photos, photos[0][:, ::-1]]):
        seg, name = tmp_path / "seg" / "ccp", f"{index:04}"
        Image.fromarray(photo).save(seg / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(np.full((90, 60), 255, np.uint8)).save(seg / "masks" / f"{name}.png")
        Image.fromarray(np.full((90, 60), 41, np.uint8)).save(seg / "labels" / f"{name}.png")
    return tmp_path


def test_mask_of_a_photograph_is_soft_and_of_its_size() -> None:
    photo = torch.from_numpy(np.asarray(Image.fromarray(data.astronaut()).resize((256, 256))).copy())[None]
    with torch.no_grad():
        subject = SubjectMask(SubjectNet()).eval()(photo)
        both = SubjectMask(SubjectNet(), MASK_NAMES).eval()(photo)
    assert subject.shape == (1, 1, 256, 256) and both.shape == (1, 2, 256, 256)
    assert subject.dtype == torch.float32 and 0 <= subject.min() < subject.max() <= 1


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
        from safetensors.torch import save_file

        merged = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
        save_file({**merged, "text.weight": torch.ones(1)}, tmp_path / "vision.safetensors")
    photo = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "vision.safetensors")(photo), net(photo))


def test_split_depends_on_names_and_drops_look_alikes(folder: Path) -> None:
    items = listed(folder, "ccp")
    training, held_out = split(items, 3)
    assert split(items[::-1], 3)[1] == held_out and len(held_out) == 3
    assert not {item.photo.name for item in training} & {item.photo.name for item in held_out}
    _, everyone = split(items, len(items))
    first = next(rank for rank, item in enumerate(everyone, 1) if item.photo.stem in ("0000", "0007"))
    training, held_out = split(items, first)
    assert not {"0000", "0007"} & {item.photo.stem for item in training}
    assert len(training) + len(held_out) == len(items) - 1


def test_decoded_planes_hold_mask_and_skin(folder: Path) -> None:
    planes = decode(listed(folder, "ccp")[0], 64)
    assert planes.shape == (5, 64, 64) and planes.dtype == np.uint8
    assert planes[3:].min() == 255
    assert [planes.shape for _, planes in held_out_pictures(folder, "ccp", 32)] == 8 * [(5, 32, 32)]


def test_thing_on_a_plain_ground_is_cut_out(tmp_path: Path) -> None:
    photo = np.full((200, 150, 3), 225.0) - np.linspace(0, 30, 150)[:, None]
    truth = np.asarray(Image.fromarray(disc(256, 0.5, 0.45, 0.25)).resize((150, 200)))
    photo[truth] = (60, 90, 160)
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "thing.png")
    mask = decode(Labelled("plain_ground", tmp_path / "thing.png"), 256)[3]
    assert intersection_over_union(mask > 127, disc(256, 0.5, 0.45, 0.25)) > 0.9
    assert cut_from_plain_ground(tmp_path / "thing.png").shape == (256, 256)


def test_street_beside_the_subject_has_no_mask() -> None:
    planes = picture(0)
    planes[3:] = 0
    planes[3, :, : SIDE // 3] = 255
    street = beside_the_subject(planes)
    assert street is not None and street.shape == planes.shape and not street[3:].any()
    planes[3] = 255
    assert beside_the_subject(planes) is None


def test_batches_are_the_same_for_a_seed_and_hold_both_masks(pictures: Pictures) -> None:
    first, second = (Augmenter(pictures, torch.Generator().manual_seed(3)).batch(16, 64) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    photos, masks = first
    assert photos.shape == (16, 3, 64, 64) and masks.shape == (16, 2, 64, 64)
    assert photos.dtype == masks.dtype == torch.uint8
    assert (masks[:, 0] > 127).float().mean() > 0.03 and masks[:, 1].any()
    assert (masks[:, 1].int() <= masks[:, 0].int() + 8).float().mean() > 0.99  # skin is part of the subject


def test_degraded_photographs_stay_in_range_and_recognisable() -> None:
    generator = torch.Generator().manual_seed(0)
    photo = torch.from_numpy(data.chelsea()[:256, :256].copy()).permute(2, 0, 1)[None] / 255
    for _ in range(5):
        spoiled = degrade(jitter_colour(photo.repeat(16, 1, 1, 1), generator), generator)
        assert spoiled.shape == (16, 3, 256, 256) and spoiled.min() >= 0 and spoiled.max() <= 1
        pairs = torch.stack([photo[0].mean(0).flatten(), spoiled[0].mean(0).flatten()])
        assert torch.corrcoef(pairs)[0, 1] > 0.5


def test_schedule_warms_up_and_ends_near_zero() -> None:
    assert learning_rate(0.0, 0) < 1e-4 < learning_rate(0.0, 1000)
    assert learning_rate(1.0, 9000) < 1e-4
    assert [side_at(fraction) for fraction in (0.0, 0.5, 1.0)] == [160, 192, 256]


def test_steps_learn_a_batch(tmp_path: Path, pictures: Pictures) -> None:
    run = Run(Settings(data=tmp_path, out=tmp_path, seed=1))
    photos, masks = Augmenter(pictures, torch.Generator().manual_seed(0)).batch(8, 64)
    losses = [run.step(photos, masks) for _ in range(25)]
    assert losses[-1] < 0.75 * losses[0]
    assert 0 <= mean_iou(run.average, [picture(0)]) <= 1


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
    assert 0.4 < run.fraction < 1 and run.steps > 0
    train(longer)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) >= 2
