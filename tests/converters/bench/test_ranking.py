"""The ranking against published figures, an independent optimiser, and truths that votes were drawn from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize

from converters.bench.ranking import EQUAL, FIRST, SECOND, Ranking, Vote, rank

ELO = 400 / np.log(10)


def wins(first: str, second: str, count: int, outcome: int = FIRST) -> list[Vote]:
    return [Vote(first=first, second=second, outcome=outcome)] * count


def drawn(strengths: Sequence[float], log_tie: float, each: int, random: np.random.Generator) -> list[Vote]:
    """Votes on every pair of models m0, m1 ... by Davidson's model."""
    votes = []
    for i, j in itertools.combinations(range(len(strengths)), 2):
        utilities = np.array([strengths[i], strengths[j], log_tie + (strengths[i] + strengths[j]) / 2])
        chances = np.exp(utilities) / np.exp(utilities).sum()
        votes += [
            Vote(first=f"m{i}", second=f"m{j}", outcome=int(outcome)) for outcome in random.choice(3, each, p=chances)
        ]
    return votes


def duel(ranking: Ranking, better: str, worse: str) -> tuple[float, float, float]:
    """The chance, low and high, whichever of both is ahead."""
    for one in ranking.duels:
        if (one.better, one.worse) == (better, worse):
            return one.chance.value, one.chance.low, one.chance.high
        if (one.better, one.worse) == (worse, better):
            return 1 - one.chance.value, 1 - one.chance.high, 1 - one.chance.low
    raise AssertionError("no such duel")


def test_the_baseball_season_of_1987_has_its_published_strengths() -> None:
    """Agresti, Categorical Data Analysis, table 10.10, with the estimates that R's BradleyTerry2 prints for it."""
    teams = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
    table = [
        [0, 7, 9, 7, 7, 9, 11], [6, 0, 7, 5, 11, 9, 9], [4, 6, 0, 7, 7, 8, 12], [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12], [4, 4, 5, 6, 6, 0, 6], [2, 4, 1, 3, 1, 7, 0],
    ]
    published = {
        "Milwaukee": (1.5814, 0.3433), "Detroit": (1.4364, 0.3396), "Toronto": (1.2945, 0.3367),
        "New York": (1.2476, 0.3359), "Boston": (1.1077, 0.3339), "Cleveland": (0.6839, 0.3319),
    }
    votes = [vote for i, row in enumerate(table) for j, count in enumerate(row)
             for vote in wins(teams[i], teams[j], count)]
    exact = rank(teams, votes, prior_deviation=1e4)
    assert [one.model for one in exact.standings] == teams
    for duels, tolerance in ((exact.duels, 1e-4), (rank(teams, votes).duels, 0.03)):  # the prior moves them by 1 %
        for one in duels:
            if one.worse == "Baltimore":
                value = np.log(one.chance.value / (1 - one.chance.value))
                found = (value, value / one.certainty)
                assert found == pytest.approx(published[one.better], abs=tolerance)


def test_an_independent_optimiser_finds_the_same_strengths_with_ties() -> None:
    votes = drawn([0.8, 0.1, -0.3, -0.6], -0.4, 60, np.random.default_rng(1))

    def objective(parameters: np.ndarray) -> float:
        worths, tie = np.exp(parameters[:4]), np.exp(parameters[4])
        total = 0.0
        for vote in votes:
            one, two = worths[int(vote.first[1])], worths[int(vote.second[1])]
            between = tie * np.sqrt(one * two)
            total -= np.log((one, two, between)[vote.outcome] / (one + two + between))
        return total + np.sum(parameters**2) / (2 * 2.0**2)

    best = minimize(objective, np.zeros(5), method="BFGS").x[:4]
    found = {one.model: one.score.value for one in rank(["m0", "m1", "m2", "m3"], votes).standings}
    for place, value in enumerate(ELO * (best - best.mean())):
        assert found[f"m{place}"] == pytest.approx(value, abs=0.05)


@pytest.mark.parametrize("log_tie", [-8.0, 0.0])
def test_intervals_cover_the_truth(log_tie: float) -> None:
    """95 % intervals hold the true chance in about 95 % of seasons, with hardly any ties and with many."""
    strengths, random = [0.7, 0.0, -0.5], np.random.default_rng(2)
    inside = []
    for _ in range(150):
        ranking = rank(["m0", "m1", "m2"], drawn(strengths, log_tie, 40, random))
        for i, j in itertools.combinations(range(3), 2):
            truth = 1 / (1 + np.exp(strengths[j] - strengths[i]))
            _, low, high = duel(ranking, f"m{i}", f"m{j}")
            inside.append(low <= truth <= high)
    assert 0.92 <= np.mean(inside) <= 0.985


def test_the_same_verdicts_by_ten_people_on_the_same_pictures_are_no_ten_times_the_evidence() -> None:
    random = np.random.default_rng(3)
    outcomes = random.choice([FIRST, SECOND], 30, p=[0.7, 0.3])
    once = [Vote(first="a", second="b", outcome=int(o), cluster=str(i)) for i, o in enumerate(outcomes)]
    alone, crowd = rank(["a", "b"], once), rank(["a", "b"], once * 10)
    blind = rank(["a", "b"], [Vote(first="a", second="b", outcome=vote.outcome) for vote in once * 10])
    width = [high - low for _, low, high in (duel(ranking, "a", "b") for ranking in (alone, crowd, blind))]
    assert width[1] == pytest.approx(width[0], rel=0.1) and width[2] < width[0] / 2.5


def test_a_model_that_won_every_vote_is_far_ahead_and_finite() -> None:
    ranking = rank(["a", "b"], wins("b", "a", 20))
    first, second = ranking.standings
    assert (first.model, first.won, second.lost) == ("b", 20, 20)
    assert 0 < first.score.low < first.score.value < first.score.high < 2000
    chance, low, high = duel(ranking, "b", "a")
    assert chance > 0.9 and low > 0.5 and high < 1


def test_only_equal_votes_leave_both_alike_and_undecided() -> None:
    ranking = rank(["a", "b"], wins("a", "b", 12, EQUAL))
    chance, low, high = duel(ranking, "a", "b")
    assert chance == pytest.approx(0.5) and low < 0.5 < high
    assert [one.equal for one in ranking.standings] == [12, 12]


def test_which_side_a_model_was_on_changes_nothing() -> None:
    mixed = wins("a", "b", 5) + wins("b", "a", 5, SECOND) + wins("b", "a", 4) + wins("a", "b", 3, EQUAL)
    sorted_out = wins("a", "b", 10) + wins("a", "b", 4, SECOND) + wins("b", "a", 3, EQUAL)
    first, second = (rank(["a", "b"], votes) for votes in (mixed, sorted_out))
    assert duel(first, "a", "b") == pytest.approx(duel(second, "a", "b"))


def test_models_that_no_votes_connect_are_not_compared() -> None:
    votes = wins("a", "b", 6) + wins("b", "a", 2) + wins("c", "d", 3) + wins("gone", "a", 50)
    ranking = rank(["a", "b", "c", "d", "e"], votes)
    assert ranking.groups == (("a", "b"), ("c", "d"), ("e",)) and ranking.votes == 11
    assert {(one.better, one.worse) for one in ranking.duels} == {("a", "b"), ("c", "d")}
    chain = rank(["a", "b", "c"], wins("a", "b", 8) + wins("b", "a", 4) + wins("b", "c", 8) + wins("c", "b", 4))
    assert chain.groups == (("a", "b", "c"),)  # a and c never met; b tells
    assert duel(chain, "a", "c")[0] > duel(chain, "a", "b")[0]


def test_without_votes_nothing_is_said() -> None:
    ranking = rank(["a", "b"], [])
    assert ranking.groups == (("a",), ("b",)) and ranking.duels == () and ranking.votes == 0
