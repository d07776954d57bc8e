"""The text network's contract (shapes, padding, forbidden cells) for random weights, its calibration and training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from converters.nano_banana.confidence import calibrate, expected_error, fitted
from converters.nano_banana.language.examples import collate
from converters.nano_banana.language.grammar import Grammar, Instruction
from converters.nano_banana.language.lexicon import load
from converters.nano_banana.language.wishes import Labelled
from converters.nano_banana.text import TextPlanner, cells, encode, said_once
from converters.nano_banana.text import load as load_planner
from converters.nano_banana.train_text import Settings, soft_bins, train
from converters.nano_banana.vocabulary import vocabulary
from converters.nano_banana.warm_start import warm_start


@pytest.fixture
def planner() -> Iterator[TextPlanner]:
    """Return an untrained network."""
    torch.manual_seed(0)
    yield TextPlanner().eval().requires_grad_(False)


def test_outputs_have_the_promised_shapes_and_ranges(planner: TextPlanner) -> None:
    tokens = torch.tensor([encode("make it brighter")], dtype=torch.int32)
    amounts, scores, beyond, color = planner(tokens)
    assert amounts.shape == scores.shape == (1, planner.regions, planner.adjustments)
    assert beyond.shape == (1,) and color.shape == (1, len(vocabulary().colors))
    assert float(scores.min()) >= 0 and float(scores.max()) <= 1
    assert float(color.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(amounts != 0, scores > 0.5)


def test_padding_changes_nothing(planner: TextPlanner) -> None:
    tokens = torch.tensor([encode("Hintergrund weichzeichnen, bitte")], dtype=torch.int32)
    padded = torch.nn.functional.pad(tokens, (0, 101))
    for one, other in zip(planner(tokens), planner(padded), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_case_changes_nothing(planner: TextPlanner) -> None:
    lower = torch.tensor([encode("wärmer")], dtype=torch.int32)
    upper = torch.tensor([encode("WÄRMER")], dtype=torch.int32)
    torch.testing.assert_close(planner(lower)[1], planner(upper)[1])


def test_forbidden_cells_are_exactly_zero(planner: TextPlanner) -> None:
    amounts, scores, _, _ = planner(torch.randint(1, 256, (8, 60), dtype=torch.int32))
    listed = vocabulary()
    for i, adjustment in enumerate(listed.adjustments):
        for r, region in enumerate(listed.regions):
            if region not in adjustment.regions:
                assert not scores[:, r, i].any() and not amounts[:, r, i].any()
            else:
                assert scores[:, r, i].all()
        if adjustment.low >= 0:
            assert float(amounts[:, :, i].min()) >= 0


def test_cells_are_spread_to_their_places(planner: TextPlanner) -> None:
    listed = vocabulary()
    spread = planner._spread(torch.arange(1.0, len(cells()) + 1).unsqueeze(0))[0]
    for (region, name), i in cells().items():
        assert spread[listed.regions.index(region), listed.index(name)] == i + 1
    assert int((spread > 0).sum()) == len(cells())


def test_soft_bins_keep_the_strength() -> None:
    strength = torch.tensor([0.05, 0.25, 0.33, 1.0])
    levels = torch.arange(1, 21) / 20
    torch.testing.assert_close((soft_bins(strength) * levels).sum(-1), strength)


def test_targets_follow_the_labels() -> None:
    instructions = [Grammar(load("en"), seed=7).draw() for _ in range(20)]
    batch = collate(instructions)
    assert batch.presence.bool().sum(1).tolist() == [len(i.edits) for i in instructions]


def test_labels_that_the_network_cannot_give_are_refused() -> None:
    with pytest.raises(KeyError):
        collate([Instruction("x", (Labelled("all", "remove", 1.0),), False, "en")])
    with pytest.raises(AssertionError):
        collate([Instruction("x", (Labelled("all", "sepia", -0.5),), False, "en")])


def test_calibration_repairs_overconfidence(planner: TextPlanner) -> None:
    truth = (torch.rand(4000) < 0.3).float()
    honest = torch.randn(4000) + truth * 2 - 1.85
    logits = honest * 5 + 2
    scale, shift = fitted(logits, truth)
    before = expected_error(torch.sigmoid(logits), truth)
    after = expected_error(torch.sigmoid(logits * scale + shift), truth)
    assert scale < 1 and before > 0.05 and after < before / 2


def test_the_calibration_is_part_of_the_network(planner: TextPlanner) -> None:
    tokens = torch.tensor([encode("add a cat")], dtype=torch.int32)
    logit = planner.logits(tokens).beyond
    grammar = Grammar(load("en"), seed=16)
    found = calibrate(planner, [collate([grammar.draw() for _ in range(32)])])
    expected = torch.sigmoid(logit * found.scale + found.shift)
    torch.testing.assert_close(planner(tokens)[2], expected, atol=1e-3, rtol=0)
    assert {"beyond_scale", "beyond_shift"} < set(planner.state_dict())


def test_a_warm_start_keeps_what_a_network_knows(tmp_path: Path, planner: TextPlanner) -> None:
    save_file({f"text.{name}": tensor for name, tensor in planner.state_dict().items()}, tmp_path / "same.safetensors")
    again = TextPlanner().eval()
    assert warm_start(again, tmp_path / "same.safetensors") == []
    tokens = torch.tensor([encode("sharper")], dtype=torch.int32)
    torch.testing.assert_close(again(tokens)[1], planner(tokens)[1])


def test_a_warm_start_finds_the_cells_of_a_smaller_vocabulary(tmp_path: Path, planner: TextPlanner) -> None:
    regions, adjustments, width = 3, 27, planner.config.query_width
    old = {name: t for name, t in planner.state_dict().items() if name.startswith(("embedding.", "blocks."))}
    old["region_query"] = torch.randn(regions, 1, width)
    old["adjustment_query"] = torch.randn(1, adjustments, width)
    old["cell_query"] = torch.randn(regions, adjustments, width)
    old["cell_bias"] = torch.randn(regions, adjustments, 3)
    old["evidence.weight"] = torch.randn(regions * adjustments * 2, planner.config.width)
    old["evidence.bias"] = torch.randn(regions * adjustments * 2)
    save_file(old, tmp_path / "old.safetensors")
    again = TextPlanner()
    warm_start(again, tmp_path / "old.safetensors")
    tint, cell = vocabulary().index("tint"), cells()["background", "tint"]
    assert torch.equal(again.cell_query[cell], old["cell_query"][2, tint])
    assert torch.equal(again.cell_bias[cell], old["cell_bias"][2, tint])
    assert torch.equal(again.evidence.bias[2 * cell + 1], old["evidence.bias"][2 * (2 * adjustments + tint) + 1])
    assert torch.equal(again.region_query[3], old["region_query"][1, 0])
    assert torch.equal(again.embedding.bytes.weight, planner.embedding.bytes.weight)


def test_a_warm_start_of_fewer_blocks_leaves_the_new_ones_quiet(tmp_path: Path, planner: TextPlanner) -> None:
    last = f"blocks.{planner.config.layers - 1}."
    old = {name: tensor for name, tensor in planner.state_dict().items() if not name.startswith(last)}
    save_file(old, tmp_path / "shallow.safetensors")
    again = TextPlanner()
    fresh = warm_start(again, tmp_path / "shallow.safetensors")
    assert fresh and all(name.startswith(last) for name in fresh)
    assert not again.get_parameter(f"{last}attention.out.weight").any()


def test_a_short_training_writes_weights_that_load(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path, minutes=0.02, batch=4, measured=4, calibrated=2)
    trained = train(settings)
    loaded = load_planner(tmp_path / "text.safetensors")
    tokens = torch.tensor([encode("sharper")], dtype=torch.int32)
    torch.testing.assert_close(trained(tokens)[1], loaded(tokens)[1])
    assert train(Settings(out=tmp_path, minutes=0.02, batch=4, measured=4, calibrated=2, resume=True)) is not None


def test_the_same_edit_for_the_whole_and_a_part_is_kept_once() -> None:
    regions = vocabulary().regions
    whole, skin, subject = (regions.index(name) for name in ("all", "skin", "subject"))
    amounts, scores = torch.zeros(1, len(regions), 5), torch.zeros(1, len(regions), 5)
    amounts[0, whole] = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0])
    scores[0, whole] = torch.tensor([0.9, 0.6, 0.6, 0.6, 0.1])
    amounts[0, skin] = torch.tensor([0.3, 0.3, -0.3, 0.0, 0.4])
    scores[0, skin] = torch.tensor([0.6, 0.9, 0.9, 0.1, 0.7])
    amounts[0, subject, 4], scores[0, subject, 4] = 0.2, 0.8
    kept = said_once(amounts, scores)[0]
    assert kept[whole].tolist() == [0.5, 0.0, 0.5, 0.5, 0.0]  # opposite wishes are two edits
    assert kept[skin].tolist() == pytest.approx([0.0, 0.3, -0.3, 0.0, 0.0])
    assert kept[subject, 4] == pytest.approx(0.2)
