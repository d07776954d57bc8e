"""Each metric against something known: damage whose size a formula tells, equal pictures, plans written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.bench.metric import Evidence, metrics
from converters.bench.metrics import fid, lpips, mask_iou, ms_ssim, plan_accuracy, preservation, psnr, ssim
from converters.bench.suite import load
from edge_runtime.plan import Edit, Plan

CASES = {case.id: case for case in load().cases}


def noisy(picture, deviation: float, seed: int = 0):
    noise = np.random.default_rng(seed).normal(0.0, deviation, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def picture():
    chooser = np.random.default_rng(0)
    rough = chooser.integers(60, 196, (24, 30, 3), np.uint8)
    return np.kron(rough, np.ones((9, 9, 1), np.uint8))


def evidence(before, after, case: str = "light-1-en", plan: Plan | None = None, **more) -> Evidence:
    return Evidence(case=CASES[case], plan=plan, before=before, after=after, **more)


def test_all_are_found_by_file_name() -> None:
    assert {*metrics()} == {
        "fid", "lpips", "mask_iou", "ms_ssim", "plan_accuracy", "preservation", "psnr", "ssim",
    }  # fmt: skip


def test_psnr_is_what_the_noise_says(picture) -> None:
    found = psnr.METRIC.measure(evidence(picture, noisy(picture, 4.0), references={"parent": picture}))
    assert found["psnr_parent"] == pytest.approx(20 * np.log10(255 / 4.0), abs=0.15)
    same = psnr.METRIC.measure(evidence(picture, picture, references={"parent": picture}))
    assert same["psnr_parent"] == 60.0


@pytest.mark.parametrize(("metric", "name"), [(ssim, "ssim_wanted"), (ms_ssim, "ms_ssim_wanted")])
def test_structural_similarity_falls_with_noise(picture, metric, name) -> None:
    values = [
        metric.METRIC.measure(evidence(picture, noisy(picture, deviation), references={"wanted": picture}))[name]
        for deviation in (0.0, 4.0, 16.0)
    ]
    assert values[0] == pytest.approx(1.0, abs=1e-6) and values[0] > values[1] > values[2]


def test_another_size_is_not_compared(picture) -> None:
    turned = np.ascontiguousarray(np.rot90(picture))
    for metric in (psnr, ssim, ms_ssim, lpips):
        assert metric.METRIC.measure(evidence(picture, turned, references={"wanted": picture})) == {}


def test_preservation_looks_only_where_nothing_may_change(picture) -> None:
    kept = np.zeros(picture.shape[:2], np.float32)
    kept[:, :100] = 1.0
    after = picture.copy()
    after[:, 150:] = 0
    measure = preservation.METRIC.measure
    assert measure(evidence(picture, after, kept=kept)) == {"preservation": 60.0}
    after[:, 50:] = 0
    assert measure(evidence(picture, after, kept=kept))["preservation"] < 15.0
    assert measure(evidence(picture, after)) == {}


def test_plans_are_right_up_to_amounts() -> None:
    nothing = np.zeros((16, 16, 3), np.uint8)

    def accuracy(case: str, *edits: Edit, beyond: float = 0.0) -> float:
        plan = Plan(edits=edits, beyond=beyond)
        return plan_accuracy.METRIC.measure(evidence(nothing, nothing, case, plan))["plan_accuracy"]

    assert accuracy("light-1-en", Edit(adjust="exposure", amount=0.1)) == 1.0
    assert accuracy("light-1-en", Edit(adjust="exposure", amount=-0.1)) == 0.0
    assert accuracy("light-1-en") == 0.0
    assert accuracy("colour-3-de", Edit(adjust="vibrance", amount=0.5)) == 1.0  # an alternative
    assert accuracy("beyond-1-de", beyond=0.9) == 1.0
    assert accuracy("beyond-1-de", Edit(adjust="exposure", amount=0.1), beyond=0.2) == 0.0


def test_masks_are_compared_where_both_are_there(picture) -> None:
    half, third = np.zeros((90, 90), np.float32), np.zeros((90, 90), np.float32)
    half[:, :45], third[:, :30] = 1.0, 1.0
    found = mask_iou.METRIC.measure(evidence(picture, picture, found_subject=third, given_subject=half))
    assert found["mask_iou"] == pytest.approx(2 / 3)
    assert mask_iou.METRIC.measure(evidence(picture, picture, found_subject=third)) == {}


def test_lpips_runs_on_weights_that_are_there(picture, tmp_path, monkeypatch) -> None:
    """Real AlexNet weights can't be in a test; those of its shape, drawn, make a distance too: of any weights, equal
    pictures are 0 apart, and more damage is further away."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert str(lpips.weights()) in str(lpips.METRIC.missing())
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    stored = {"classifier.1.weight": torch.zeros(1)}
    for number, (outputs, inputs, side) in shapes.items():
        stored[f"features.{number}.weight"] = torch.randn(outputs, inputs, side, side) * (2 / (inputs * side**2)) ** 0.5
        stored[f"features.{number}.bias"] = torch.zeros(outputs)
    lpips.weights().parent.mkdir()
    torch.save(stored, lpips.weights())
    assert lpips.METRIC.missing() is None
    pairs = [evidence(picture, noisy(picture, deviation), references={"wanted": picture}) for deviation in (0, 4, 16)]
    values = [lpips.METRIC.measure(pair)["lpips_wanted"] for pair in pairs]
    assert values[0] == pytest.approx(0.0, abs=1e-6) and values[0] < values[1] < values[2]


def test_fid_says_what_it_lacks() -> None:
    assert "torch-fidelity" in str(fid.METRIC.missing())
