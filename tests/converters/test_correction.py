"""The correction network, its damage, its training and its benchmark, on scikit-image's photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from skimage.color import rgb2lab

from benchmarks.corrections import NO_CORRECTION, Corrections, corrected, measure, planted, report, sheet
from converters.nano_banana import definitions
from converters.nano_banana.correction import (
    GROUPS,
    MEMBERS,
    PHOTO_SIDE_PIXELS,
    AutoCorrection,
    CorrectionNet,
    load,
    save,
    statistics,
    tones,
)
from converters.nano_banana.tone_damage import cast_gains, no_damage, random_damage
from converters.nano_banana.train_correction import (
    KINDS,
    Run,
    Settings,
    examples,
    group_mask,
    held_out_distances,
    lab,
    photo_files,
    plain_pictures,
    render,
    stored_photos,
    train,
)
from converters.nano_banana.vocabulary import indices, vocabulary

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def photo(name: str, side: int = PHOTO_SIDE_PIXELS) -> np.ndarray:
    return np.asarray(Image.fromarray(getattr(data, name)()).resize((side, side)))


def planes(side: int = 64) -> torch.Tensor:
    """Photographs as encoded RGB float32 (4, 3, side, side) on 8-bit steps."""
    return torch.from_numpy(np.stack([photo(name, side) for name in PHOTOS])).permute(0, 3, 1, 2).float() / 255


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with twelve crops of photographs and one snapshot of clothing."""
    (tmp_path / "photos").mkdir()
    for number in range(12):
        image = Image.fromarray(getattr(data, PHOTOS[number % 4])()).rotate(30 * number).resize((90, 80))
        image.save(tmp_path / "photos" / f"{number:02}.jpg")
    image.save(tmp_path / "photos" / "clothing-1.jpg")
    return tmp_path


def test_groups_are_adjustments_without_overlap() -> None:
    parts = [name for group in KINDS.values() for name in GROUPS[group]]
    assert len(set(parts)) == len(parts)
    assert set(GROUPS["auto_enhance"]) == {*parts, "vibrance"}
    assert set(GROUPS) == {name for name in indices() if name.startswith("auto_")}
    assert set(MEMBERS) <= set(indices())


def test_corrections_lie_on_the_vocabularys_axis_and_within_its_bounds() -> None:
    net = CorrectionNet().eval()
    torch.nn.init.normal_(net.head.weight, std=20.0)
    module = AutoCorrection(net).eval()
    amounts = torch.stack([module(torch.from_numpy(photo(name).copy())[None])[0] for name in PHOTOS])
    assert amounts.shape == (4, len(vocabulary().adjustments))
    for adjustment, found in zip(vocabulary().adjustments, amounts.T, strict=True):
        assert bool((found >= adjustment.low).all() and (found <= adjustment.high).all())
        assert adjustment.name in MEMBERS or not found.any()
    assert bool((amounts[:, indices()["vibrance"]] >= 0).all())


def test_tones_are_shares_and_percentiles() -> None:
    ramp = torch.linspace(0, 1, 1001).reshape(1, 1, -1)
    shares, percentiles = tones(ramp)
    assert float(shares.square().sum()) == pytest.approx(1.0, abs=0.01)
    assert percentiles[0].tolist() == pytest.approx([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], abs=0.03)


def test_clipped_white_is_not_darkened() -> None:
    net = CorrectionNet().eval()
    torch.nn.init.constant_(net.head.bias, -2.0)
    named = dict(zip(MEMBERS, net(torch.ones(1, 3, 64, 64))[0].tolist(), strict=True))
    assert named["exposure"] == named["whites"] == 0
    assert named["highlights"] < -0.9
    assert net(torch.full((1, 3, 64, 64), 0.8))[0, MEMBERS.index("exposure")] < -0.9


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_statistics_of_a_plain_picture_are_finite(value: float) -> None:
    assert bool(statistics(torch.full((1, 3, 64, 64), value)).isfinite().all())


@pytest.mark.filterwarnings("ignore")
def test_exported_graph_agrees(tmp_path: Path) -> None:
    module = AutoCorrection(CorrectionNet().eval()).eval()
    torch.nn.init.normal_(module.net.head.weight, std=1.0)
    example = torch.from_numpy(photo("coffee").copy())[None]
    program = torch.onnx.export(
        module, (example,), input_names=["photo"], opset_version=21, dynamo=True, external_data=False, verbose=False
    )
    assert program is not None
    program.save(tmp_path / "correction.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "correction.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"photo": example.numpy()})[0]
    np.testing.assert_allclose(found, module(example).detach().numpy(), atol=1e-4)


def test_saved_and_merged_weights_give_the_same_network(tmp_path: Path) -> None:
    net, file, merged = CorrectionNet().eval(), tmp_path / "own.safetensors", tmp_path / "merged.safetensors"
    save(net, file)
    named = {f"correction.{name}": value for name, value in load_file(file).items()}
    save_file({**named, "text.other": torch.zeros(1)}, merged)
    grid = planes()
    for path in (file, merged):
        assert torch.equal(load(path)(grid), net(grid))


def test_no_damage_changes_nothing() -> None:
    assert (no_damage(4).apply(planes()) - planes()).abs().max() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_damage_without_every_kind_is_none_but_pale(kind: str) -> None:
    damage = random_damage(4, torch.Generator().manual_seed(0))
    everywhere = torch.ones(4, 1, 1, 1, dtype=torch.bool)
    for other in KINDS:
        damage = damage.without(other, everywhere) if other != kind else damage
    whole = damage.without(kind, everywhere)
    for field in fields(whole):
        if field.name not in ("hard", "pale"):
            assert torch.equal(getattr(whole, field.name), getattr(no_damage(4), field.name))


def test_a_cast_is_what_warmth_makes() -> None:
    gains = cast_gains(torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, 1, 1, 1)).flatten()
    grey = np.full((1, 1, 3), 0.4)
    warm = (definitions.decode(definitions.warmth(grey, 0.5)) / definitions.decode(grey))[0, 0]
    np.testing.assert_allclose(gains.numpy(), warm, rtol=1e-5)


def test_rendering_follows_the_definitions() -> None:
    amounts = torch.linspace(-0.4, 0.4, len(MEMBERS)).reshape(1, -1)
    pixels = planes()[:1]
    found = render(pixels.flatten(2), amounts)[0].T.reshape(64, 64, 3).numpy()
    named = dict(zip(MEMBERS, amounts[0].tolist(), strict=True))
    wanted = definitions.apply(pixels[0].permute(1, 2, 0).double().numpy(), named)
    assert np.abs(found - wanted).max() < 2e-3


def test_lab_is_cielab() -> None:
    pixels = planes()
    wanted = rgb2lab(pixels.permute(0, 2, 3, 1).numpy()) / 100
    np.testing.assert_allclose(lab(pixels.flatten(2)).permute(0, 2, 1).reshape(4, 64, 64, 3), wanted, atol=5e-3)


def test_the_fitting_group_alone_is_trained() -> None:
    """Only warmth and tint get a gradient from the white balance's part of the loss."""
    amounts = torch.zeros(4, len(MEMBERS), requires_grad=True)
    masked = amounts * group_mask("auto_white_balance")
    render(planes().flatten(2), masked).sum().backward()
    assert amounts.grad is not None
    touched = {name for name, gradient in zip(MEMBERS, amounts.grad.abs().sum(0), strict=True) if gradient > 0}
    assert touched == set(GROUPS["auto_white_balance"])


def test_clothing_is_no_target(folder: Path) -> None:
    training, held_out = photo_files(folder, count=3)
    assert len(held_out) == 3
    assert not set(training) & set(held_out)
    assert all(not file.name.startswith("clothing") for file in training + held_out)


def test_plain_pictures_are_pictures() -> None:
    plain = plain_pictures(8, torch.Generator().manual_seed(0))
    assert plain.shape == (8, 3, 64, 64)
    assert 0 <= float(plain.min()) <= float(plain.max()) <= 1


def test_steps_bring_damaged_photos_back(tmp_path: Path) -> None:
    run = Run(Settings(tmp_path, tmp_path, batch=8))
    photos = planes().repeat(2, 1, 1, 1)
    damage = random_damage(8, torch.Generator().manual_seed(3))
    losses = [run.step(photos, damage) for _ in range(60)]
    assert np.mean(losses[-9:]) < 0.85 * np.mean(losses[:9])


def test_examples_end_with_a_whole_plain_picture(folder: Path) -> None:
    stored = stored_photos(sorted((folder / "photos").glob("*.jpg")))
    pictures, damage = examples(stored, Settings(folder, folder, batch=4), torch.Generator().manual_seed(0))
    assert pictures.shape == (4, 3, 64, 64)
    assert (damage.apply(pictures)[-1] - pictures[-1]).abs().max() < 3e-3


def test_untrained_network_changes_little(folder: Path) -> None:
    stored = stored_photos(sorted((folder / "photos").glob("*.jpg")))
    found = held_out_distances(CorrectionNet().eval(), stored)
    assert found["undamaged"] < 0.02 < found["before"]


def test_training_leaves_weights_and_is_resumed(folder: Path, tmp_path: Path) -> None:
    settings = Settings(folder, tmp_path / "run", minutes=0.005, batch=2, held_out=2)
    load(train(settings))
    lines = (settings.out / "metrics.jsonl").read_text().count("\n")
    train(replace(settings, minutes=0.01, resume=True))
    assert (settings.out / "metrics.jsonl").read_text().count("\n") > lines


def oracle(amount: float) -> Corrections:
    """A callable that always answers with this amount of warmth."""

    def run(_: np.ndarray) -> np.ndarray:
        amounts = np.zeros(len(indices()), np.float32)
        amounts[indices()["warmth"]] = amount
        return amounts

    return run


def test_benchmark_sees_that_the_right_amount_mends() -> None:
    found = measure(oracle(-0.9), [photo("chelsea", 48)], "orange cast")
    assert found["ours, fitting group"][0] < 0.4 * found[NO_CORRECTION][0]
    assert measure(oracle(0.0), [photo("chelsea", 48)], "undamaged")["ours, enhance"][0] < 0.01


def test_groups_apply_only_their_own_members() -> None:
    original, amounts = photo("coffee", 32), oracle(0.8)(photo("coffee"))
    assert np.array_equal(corrected(original, amounts, "auto_exposure"), original)
    assert not np.array_equal(corrected(original, amounts, "auto_white_balance"), original)


def test_report_and_sheet_show_every_kind() -> None:
    photos = [photo("coffee", 24)]
    assert report(oracle(0.1), photos).count("\n") == len(planted()) + 1
    assert sheet(oracle(0.1), photos, list(planted())[:3]).size == (72, 12)
