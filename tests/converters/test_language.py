"""The lexicons and the grammar: every cell can be said in every language, labels fit the words, and the network's
contract (shapes, padding, thresholds) holds for random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from converters.nano_banana.language.clauses import ONE_REGION, ClauseWriter, Setting, Wish, signed_keys
from converters.nano_banana.language.examples import collate
from converters.nano_banana.language.grammar import Grammar
from converters.nano_banana.language.lexicon import Part, is_held_out, languages, load
from converters.nano_banana.language.noise import LONG, noisy, with_typo
from converters.nano_banana.text import TextPlanner, encode
from converters.nano_banana.text import load as load_planner
from converters.nano_banana.train_text import Settings, soft_bins, train
from converters.nano_banana.vocabulary import vocabulary


@pytest.fixture(params=languages())
def language(request: pytest.FixtureRequest) -> str:
    """Return each language in turn."""
    return str(request.param)


@pytest.fixture
def planner() -> Iterator[TextPlanner]:
    """Return an untrained network."""
    torch.manual_seed(0)
    yield TextPlanner().eval().requires_grad_(False)


def test_both_languages_exist() -> None:
    assert languages() == ("de", "en")


def test_every_direction_of_every_adjustment_can_be_said(language: str) -> None:
    writer = ClauseWriter(load(language), Random(0))
    unsaid = [key for key in signed_keys() if not writer.routes(Wish("all", key))]
    assert not unsaid


def test_clauses_have_no_open_slots_and_fit_the_vocabulary(language: str) -> None:
    grammar = Grammar(load(language), seed=1)
    for instruction in (grammar.draw() for _ in range(2000)):
        assert instruction.text and "{" not in instruction.text
        for edit in instruction.edits:
            adjustment = vocabulary().adjustment(edit.name)
            assert edit.region in adjustment.regions
            assert adjustment.low <= edit.amount <= adjustment.high and edit.amount != 0
            assert (edit.color is not None) == (edit.name == "fill")


def test_no_adjustment_is_asked_for_twice_in_a_region(language: str) -> None:
    grammar = Grammar(load(language), seed=2)
    for instruction in (grammar.draw() for _ in range(500)):
        cells = [(edit.region, edit.name) for edit in instruction.edits]
        assert len(cells) == len(set(cells))


def test_a_seed_gives_the_same_instructions(language: str) -> None:
    one, other = Grammar(load(language), seed=3), Grammar(load(language), seed=3)
    assert [one.draw() for _ in range(50)] == [other.draw() for _ in range(50)]


def test_held_out_phrases_are_not_learned(language: str) -> None:
    learned, held_out = load(language, Part.LEARN), load(language, Part.HELD_OUT)
    for key in learned.adjust:
        for kind, phrases in learned.adjust[key].items():
            assert not set(phrases) & set(held_out.adjust[key][kind])
            assert not any(is_held_out(phrase) for phrase in phrases)


def test_a_percentage_is_the_strength() -> None:
    writer = ClauseWriter(load("en"), Random(4))
    clause = writer.filled("make {acc} {percent} {adjective}", {"adjective": "brighter"},
                           [Wish("all", "exposure+")], Setting())  # fmt: skip
    digits = "".join(letter for letter in clause.text if letter.isdigit())
    assert not digits or clause.edits[0].amount == pytest.approx(int(digits) / 100)


def test_the_background_is_named_when_it_is_meant() -> None:
    writer = ClauseWriter(load("en"), Random(5))
    clause = writer.filled("more contrast", {}, [Wish("background", "contrast+")], Setting())
    assert clause.text != "more contrast" and "more contrast" in clause.text


def test_typos_leave_digits_alone() -> None:
    random = Random(6)
    for _ in range(200):
        assert "37" in noisy("make it 37 % brighter", random, [])
        assert with_typo("50 %", random) == "50 %"


def test_umlauts_can_be_written_out() -> None:
    assert "Wärme und Größe".translate(LONG) == "Waerme und Groesse"


def test_fixed_regions_match_the_vocabulary() -> None:
    for name, region in ONE_REGION.items():
        assert region in vocabulary().adjustment(name).regions


def test_outputs_have_the_promised_shapes_and_ranges(planner: TextPlanner) -> None:
    tokens = torch.tensor([encode("make it brighter")], dtype=torch.int32)
    amounts, scores, beyond, color = planner(tokens)
    assert amounts.shape == scores.shape == (1, 3, 27)
    assert beyond.shape == (1,) and color.shape == (1, 14)
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


def test_removing_never_applies_to_the_whole_image(planner: TextPlanner) -> None:
    tokens = torch.randint(1, 256, (8, 60), dtype=torch.int32)
    _, scores, _, _ = planner(tokens)
    remove = vocabulary().index("remove")
    assert float(scores[:, :2, remove].max()) < 1e-3


def test_soft_bins_keep_the_strength() -> None:
    strength = torch.tensor([0.05, 0.25, 0.33, 1.0])
    levels = torch.arange(1, 21) / 20
    torch.testing.assert_close((soft_bins(strength) * levels).sum(-1), strength)


def test_targets_follow_the_labels() -> None:
    instructions = [Grammar(load("en"), seed=7).draw() for _ in range(20)]
    batch = collate(instructions)
    assert batch.presence.flatten(1).bool().sum(1).tolist() == [len(i.edits) for i in instructions]


def test_a_short_training_writes_weights_that_load(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path, minutes=0.02, batch=4, measured=4)
    trained = train(settings)
    loaded = load_planner(tmp_path / "text.safetensors")
    tokens = torch.tensor([encode("sharper")], dtype=torch.int32)
    torch.testing.assert_close(trained(tokens)[1], loaded(tokens)[1])
    assert train(Settings(out=tmp_path, minutes=0.02, batch=4, measured=4, resume=True)) is not None
