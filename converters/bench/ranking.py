"""Bradley-Terry ranking of pairwise votes with ties, by Davidson's extension. No storage and no page here.

Model i wins against j with odds e^(s_i), loses with e^(s_j), and is called equal with t e^((s_i + s_j) / 2) (Davidson
1970, "On extending the Bradley-Terry model to accommodate ties"). A weak normal prior on the strengths keeps a model
finite that won every vote. Intervals are of the normal approximation, its variance the larger of two: the curvature's,
which takes votes as independent, and the sandwich estimate by clusters, as several people may judge the same pictures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR_DEVIATION: Final = 2.0
"""Of strengths, in natural log odds: 95 % lie between odds of 1 : 50 and 50 : 1 against the mean."""
FIRST, SECOND, EQUAL = range(3)
_QUANTILE: Final = 1.959964  # of the normal distribution, for 95 %
_ELO: Final = 400 / math.log(10)
_STEPS: Final = 100
_ENOUGH: Final = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One judgement. `outcome` is FIRST, SECOND or EQUAL; votes of one `cluster` need not be independent."""

    first: str
    second: str
    outcome: int
    cluster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model's votes, and its score in Elo points: the mean of its group is 0, and +100 wins 64 % of decided votes."""

    model: str
    group: int
    won: int
    equal: int
    lost: int
    score: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Two models of one group: their direct votes, and the chance that a decided vote is for `better`."""

    better: str
    worse: str
    votes: int
    chance: Estimate
    certainty: float
    """The difference in standard errors; above 1.96 the interval of `chance` leaves out 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The best first, group by group. Between groups there are no votes, so nothing can be said."""

    votes: int
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    groups: tuple[tuple[str, ...], ...]


def rank(models: Sequence[str], votes: Sequence[Vote], prior_deviation: float = PRIOR_DEVIATION) -> Ranking:
    """Rank `models`; votes on others are not counted."""
    known = set(models)
    counted = [vote for vote in votes if vote.first in known and vote.second in known]
    standings: list[Standing] = []
    duels: list[Duel] = []
    groups = []
    for number, group in enumerate(sorted(_connected(models, counted), key=lambda group: -len(group))):
        inside = [vote for vote in counted if vote.first in group]
        fitted = _Fit(group, inside, prior_deviation)
        found = sorted(
            (_standing(model, number, inside, fitted) for model in group), key=lambda one: -one.score.value
        )
        standings += found
        groups.append(tuple(one.model for one in found))
        duels += _duels(groups[-1], inside, fitted)
    return Ranking(votes=len(counted), standings=tuple(standings), duels=tuple(duels), groups=tuple(groups))


def _connected(models: Sequence[str], votes: Sequence[Vote]) -> list[list[str]]:
    """Return groups of models that votes connect, each in the order of `models`."""
    group = {model: place for place, model in enumerate(models)}
    for vote in votes:
        old, new = group[vote.second], group[vote.first]
        if old != new:
            group = {model: new if place == old else place for model, place in group.items()}
    return [[model for model in models if group[model] == place] for place in dict.fromkeys(group.values())]


class _Fit:
    """Strengths of connected models: the most probable ones, and how sure they are."""

    def __init__(self, models: Sequence[str], votes: Sequence[Vote], prior_deviation: float) -> None:
        self._places = {model: place for place, model in enumerate(models)}
        size = len(models) + 1  # the last parameter is the logarithm of t
        alike = Counter(votes)
        self._utilities = _utilities(self._places, list(alike))
        self._outcomes = np.array([vote.outcome for vote in alike], int)
        self._counts = np.array(list(alike.values()), float)
        self._precision = np.eye(size) / prior_deviation**2
        self._found = np.zeros(size)
        self._maximise()
        self._variances = self._estimate_variances([vote.cluster for vote in alike])

    def score(self, model: str) -> tuple[float, float]:
        """Return the strength above the group's mean, and its standard error."""
        contrast = np.zeros(len(self._found))
        contrast[:-1] = -1 / len(self._places)
        contrast[self._places[model]] += 1
        return self._measured(contrast)

    def difference(self, first: str, second: str) -> tuple[float, float]:
        """Return how much stronger the first model is, and its standard error."""
        contrast = np.zeros(len(self._found))
        contrast[self._places[first]], contrast[self._places[second]] = 1, -1
        return self._measured(contrast)

    def _measured(self, contrast: Array) -> tuple[float, float]:
        variance = max(float(contrast @ matrix @ contrast) for matrix in self._variances)
        return float(contrast @ self._found), variance**0.5

    def _chances(self, parameters: Array) -> Array:
        """Return the chances of the outcomes: float64 (kinds of votes, 3)."""
        utilities = self._utilities @ parameters
        odds = np.exp(utilities - utilities.max(axis=1, keepdims=True, initial=-np.inf))
        chances: Array = odds / odds.sum(axis=1, keepdims=True)
        return chances

    def _objective(self, parameters: Array) -> float:
        chances = self._chances(parameters)[np.arange(len(self._outcomes)), self._outcomes]
        return float(self._counts @ np.log(chances) - parameters @ self._precision @ parameters / 2)

    def _scores(self, chances: Array) -> Array:
        """Return the gradients of alike votes: float64 (kinds of votes, parameters)."""
        seen = self._utilities[np.arange(len(self._outcomes)), self._outcomes]
        gradient: Array = self._counts[:, None] * (seen - np.einsum("vo,vop->vp", chances, self._utilities))
        return gradient

    def _curvature(self, chances: Array) -> Array:
        means = np.einsum("vo,vop->vp", chances, self._utilities)
        weights = self._counts[:, None] * chances
        squares = np.einsum("vop,voq->pq", weights[..., None] * self._utilities, self._utilities)
        curvature: Array = squares - (self._counts[:, None] * means).T @ means + self._precision
        return curvature

    def _maximise(self) -> None:
        """Newton's method with halved steps; the objective is strictly concave, so there is one maximum."""
        for _ in range(_STEPS):
            chances = self._chances(self._found)
            gradient = self._scores(chances).sum(axis=0) - self._precision @ self._found
            step = np.linalg.solve(self._curvature(chances), gradient)
            before = self._objective(self._found)
            while self._objective(self._found + step) < before and np.abs(step).max() > _ENOUGH:
                step /= 2
            self._found = self._found + step
            if np.abs(step).max() <= _ENOUGH:
                return

    def _estimate_variances(self, clusters: Sequence[str]) -> list[Array]:
        chances = self._chances(self._found)
        inverse: Array = np.asarray(np.linalg.inv(self._curvature(chances)), np.float64)
        named, places = np.unique(np.array(clusters, str), return_inverse=True)
        if len(named) < 2:
            return [inverse]
        sums = np.zeros((len(named), len(self._found)))
        np.add.at(sums, places, self._scores(chances))
        sandwich = np.asarray(inverse @ (sums.T @ sums) @ inverse * (len(named) / (len(named) - 1)), np.float64)
        return [inverse, sandwich]


def _utilities(places: dict[str, int], votes: Sequence[Vote]) -> Array:
    """Return what multiplies the parameters in the log odds of each outcome: float64 (votes, 3, parameters)."""
    table = np.zeros((len(votes), 3, len(places) + 1))
    for row, vote in enumerate(votes):
        first, second = places[vote.first], places[vote.second]
        table[row, FIRST, first] = table[row, SECOND, second] = 1
        table[row, EQUAL, [first, second]] = 0.5
        table[row, EQUAL, -1] = 1
    return table


def _standing(model: str, group: int, votes: Sequence[Vote], fitted: _Fit) -> Standing:
    value, error = fitted.score(model)
    results = [
        EQUAL if vote.outcome == EQUAL else int((vote.first, vote.second)[vote.outcome] != model)
        for vote in votes if model in (vote.first, vote.second)
    ]
    low, middle, high = (_ELO * (value + side * _QUANTILE * error) for side in (-1, 0, 1))
    return Standing(
        model=model, group=group, won=results.count(FIRST), equal=results.count(EQUAL), lost=results.count(SECOND),
        score=Estimate(value=middle, low=low, high=high),
    )


def _duels(group: Sequence[str], votes: Sequence[Vote], fitted: _Fit) -> Iterator[Duel]:
    for place, better in enumerate(group):
        for worse in group[place + 1 :]:
            value, error = fitted.difference(better, worse)
            low, middle, high = (_chance(value + side * _QUANTILE * error) for side in (-1, 0, 1))
            yield Duel(
                better=better, worse=worse, certainty=value / error,
                votes=sum({vote.first, vote.second} == {better, worse} for vote in votes),
                chance=Estimate(value=middle, low=low, high=high),
            )


def _chance(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
