"""The lexicons and the grammar: every cell can be said in every language, and labels fit the words."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from converters.nano_banana.language.choice import WishChooser
from converters.nano_banana.language.clauses import UNMEASURED, ClauseWriter
from converters.nano_banana.language.grammar import ERASED, Grammar, Instruction
from converters.nano_banana.language.lexicon import Part, languages, load
from converters.nano_banana.language.noise import LONG, noisy, with_typo
from converters.nano_banana.language.wishes import Clause, Labelled, Setting, Wish, only_region, regions_of, signed_keys
from converters.nano_banana.vocabulary import vocabulary


@pytest.fixture(params=languages())
def language(request: pytest.FixtureRequest) -> str:
    """Return each language in turn."""
    return str(request.param)


def drawn(language: str, seed: int, count: int) -> list[Instruction]:
    """Return some instructions."""
    grammar = Grammar(load(language), seed)
    return [grammar.draw() for _ in range(count)]


def test_both_languages_exist() -> None:
    assert languages() == ("de", "en")


def test_every_direction_of_every_adjustment_can_be_said(language: str) -> None:
    writer = ClauseWriter(load(language), Random(0))
    unsaid = [key for key in signed_keys() if not writer.routes(Wish(regions_of(key[:-1])[0], key))]
    assert not unsaid


def test_clauses_have_no_open_slots_and_fit_the_vocabulary(language: str) -> None:
    for instruction in drawn(language, seed=1, count=2000):
        assert instruction.text and "{" not in instruction.text
        for edit in instruction.edits:
            adjustment = vocabulary().adjustment(edit.name)
            assert edit.region in adjustment.regions
            assert adjustment.low <= edit.amount <= adjustment.high and edit.amount != 0
            assert (edit.color is not None) == adjustment.takes_color


def test_no_adjustment_is_asked_for_twice_in_a_region(language: str) -> None:
    for instruction in drawn(language, seed=2, count=500):
        cells = [(edit.region, edit.name) for edit in instruction.edits]
        assert len(cells) == len(set(cells))


def test_a_seed_gives_the_same_instructions(language: str) -> None:
    assert drawn(language, seed=3, count=50) == drawn(language, seed=3, count=50)


def test_held_out_phrases_are_not_learned(language: str) -> None:
    learned, held_out = load(language, Part.LEARN), load(language, Part.HELD_OUT)
    for key in learned.adjust:
        for kind, phrases in learned.adjust[key].items():
            assert not set(phrases) & set(held_out.adjust[key][kind])
            assert not any(Part.HELD_OUT.keeps(phrase) for phrase in phrases)


def test_a_reserve_stays_unknown_when_the_rest_is_released(language: str) -> None:
    released, reserved, held_out = (load(language, part) for part in (Part.RELEASED, Part.RESERVED, Part.HELD_OUT))
    assert reserved.beyond and set(reserved.beyond) < set(held_out.beyond)
    assert not set(released.beyond) & set(reserved.beyond)
    assert set(released.beyond) | set(reserved.beyond) == set(load(language).beyond)


def test_what_an_image_must_not_become_is_nothing_that_is_asked_for(language: str) -> None:
    grammar = Grammar(load(language), seed=5)
    edits = (Labelled("all", "warmth", 0.5), Labelled("all", "exposure", 0.5))
    asked = {word for edit in edits for sign in "+-"
             for word in grammar.lexicon.adjust[edit.name + sign]["adjective"]}  # fmt: skip
    texts = {grammar.with_negation("make it so", edits) for _ in range(400)}
    assert not asked & {grammar.unwanted({edit.name for edit in edits}) for _ in range(400)}
    assert len(texts) > 200 and all("{" not in text and "make it so" in text for text in texts)
    assert {text.startswith("make it so") for text in texts} == {True, False}, "said before and after"


@pytest.mark.parametrize("part", Part)
def test_a_part_that_knows_few_words_still_says_what_must_not_change(language: str, part: Part) -> None:
    grammar = Grammar(load(language, part), seed=6)
    assert all(grammar.with_negation("warmer", (Labelled("all", "warmth", 0.5),)) for _ in range(300))


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


def test_a_single_region_is_read_from_the_vocabulary() -> None:
    for adjustment in vocabulary().adjustments:
        assert only_region(adjustment.name) == (adjustment.regions[0] if len(adjustment.regions) == 1 else None)


def test_every_region_is_asked_for(language: str) -> None:
    lexicon = load(language)
    chooser = WishChooser(ClauseWriter(lexicon, Random(8)), Random(8))
    found = {chooser.region(key) for _ in range(3000) for key in (chooser.key(),)}
    assert found == set(vocabulary().regions)


def test_an_erased_object_is_an_edit_of_the_mask_and_beyond(language: str) -> None:
    erasing = Grammar(load(language), seed=9).erasing()
    assert erasing.beyond and erasing.edits == (ERASED,)
    instructions = drawn(language, seed=9, count=3000)
    share = sum(ERASED in i.edits and i.beyond and i.is_single for i in instructions) / len(instructions)
    assert 0.06 < share < 0.13


def test_erasing_what_is_marked_is_no_more_than_an_edit(language: str) -> None:
    clause = ClauseWriter(load(language), Random(10)).write([Wish("masked", "inpaint+")], Setting())
    assert clause is not None and not clause.beyond and clause.edits == (ERASED,)


def test_a_wish_without_a_region_stands_apart_from_one_with_a_region() -> None:
    grammar = Grammar(load("en"), seed=11)
    bare = Clause("warmer", (Labelled("all", "warmth", 0.5),), continues=True)
    verbal = Clause("blur the background", (Labelled("background", "blur", 0.5),))
    adjective = replace(verbal, text="the background blurry", open=True)
    for _ in range(200):
        assert grammar.joined([verbal, bare])[len(verbal.text) :].lstrip().startswith((",", ".", ";", "/", "warmer"))
        assert grammar.joined([adjective, bare])[len(adjective.text) :].lstrip().startswith((".", ";", "warmer"))
    assert any(grammar.joined([bare, verbal]).startswith("warmer and ") for _ in range(200))


def test_a_wish_in_a_word_is_for_the_whole_image(language: str) -> None:
    writer = ClauseWriter(load(language), Random(11))
    assert all(writer.brief(Wish("all", "exposure+")).edits[0].region == "all" for _ in range(20))


def test_notes_name_their_region_without_articles() -> None:
    writer = ClauseWriter(load("en"), Random(12))
    texts = {writer.brief(Wish("background", "exposure-")).text for _ in range(400)}
    assert any(text.startswith("background ") for text in texts)
    assert all(text not in writer.lexicon.adjust["exposure-"]["adjective"] for text in texts)


def test_further_adjectives_can_have_strengths_of_their_own() -> None:
    writer = ClauseWriter(load("en"), Random(13))
    wishes = [Wish("background", "exposure-"), Wish("background", "warmth+")]
    words = ["darker", "warmer"]
    strengths = next(s for _ in range(99) if (s := writer.own_adverbs(words, wishes)) and s[1] is not None)
    assert words[0] == "darker" and words[1].endswith(" warmer") and 0 < (strengths[1] or 0) <= 1


def test_turns_are_quarters_or_halves_and_never_percentages(language: str) -> None:
    writer = ClauseWriter(load(language), Random(14))
    for sign in "+-":
        clauses = [writer.write([Wish("all", f"rotate{sign}")], Setting()) for _ in range(300)]
        amounts = {abs(clause.edits[0].amount) for clause in clauses if clause}
        assert amounts == {0.5, 1.0}
        assert not any("%" in clause.text for clause in clauses if clause)


def test_what_cannot_be_measured_gets_no_percentage(language: str) -> None:
    writer = ClauseWriter(load(language), Random(15))
    for name in sorted(UNMEASURED):
        for _ in range(60):
            clause = writer.write([Wish(regions_of(name)[0], f"{name}+")], Setting())
            assert clause is not None and "%" not in clause.text


def test_the_whole_image_and_a_part_of_it_can_be_asked_for_the_opposite(language: str) -> None:
    grammar = Grammar(load(language), seed=17)
    for _ in range(200):
        whole, part = grammar.chooser.pair()
        edits = [edit for clause in grammar.paired(whole, part) for edit in clause.edits]
        assert {edit.region for edit in edits} == {"all", part.region} and len({edit.name for edit in edits}) == 1


def test_clauses_that_share_a_verb_name_the_whole_image_first(language: str) -> None:
    grammar = Grammar(load(language), seed=18)
    for _ in range(100):
        wishes = grammar.chooser.described(3)
        clauses = grammar.writer.gapped(wishes)
        regions = [vocabulary().regions.index(clause.edits[0].region) for clause in clauses]
        assert regions == sorted(regions)
        assert clauses[0].text.split(" ")[0] in ("make", "mach", "mache")
