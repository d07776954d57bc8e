"""Which pictures a voter is asked about next, and what all answers together say."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from converters.bench.ranking import EQUAL, FIRST, SECOND, Ranking, Vote, rank
from converters.bench.scenes import Scene, Scenes
from converters.bench.vote_store import Ballot, Choice, VoteStore
from edge_runtime.errors import RepeatError, UnknownError

FEW_VOTES: Final = 8
"""Up to so many, pairs of models take turns; beyond, the pair is asked about that is least decided."""

_OUTCOMES: Final = {Choice.LEFT: FIRST, Choice.RIGHT: SECOND, Choice.EQUAL: EQUAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many questions a voter has answered and could answer, and how many votes there are from everybody."""

    answered: int
    all: int
    everybody: int


class Election:
    """The questions and answers about one report. Safe to share between threads."""

    def __init__(self, scenes: Scenes, store: VoteStore, chance: random.Random | None = None) -> None:
        self._scenes, self._store = scenes, store
        self._chance = chance or random.SystemRandom()
        self._lock = threading.Lock()  # two tabs of one browser must not be given the same question twice
        self._all = [(scene.name, pair) for scene in scenes.by_name.values() for pair in scene.pairs()]

    def next(self, voter: str) -> Ballot | None:
        """Return the voter's open question, or a new one; None when all are answered."""
        with self._lock:
            ballots = self._ballots()
            mine = [ballot for ballot in ballots if ballot.voter == voter]
            if waiting := [ballot for ballot in mine if ballot.choice is None]:
                return waiting[-1]
            asked = {(ballot.scene, ballot.pair) for ballot in mine}
            if not (left := [question for question in self._all if question not in asked]):
                return None
            scene, pair = self._choose(left, ballots)
            first, second = self._chance.sample(pair, 2)
            return self._store.issue(voter, scene, first, second)

    def vote(self, voter: str, name: str, choice: Choice) -> None:
        """Keep an answer. Raises UnknownError for somebody else's question, RepeatError for one answered otherwise."""
        self.ballot(voter, name)
        if not self._store.vote(name, choice):
            raise RepeatError("this pair has been voted on already", hint="take the vote back first (Undo)")

    def undo(self, voter: str) -> Ballot | None:
        """Take back the voter's latest answer and return its question; None when there is none."""
        with self._lock:
            return self._store.undo(voter)

    def ballot(self, voter: str, name: str) -> Ballot:
        """Return a voter's question; raises UnknownError."""
        ballot = self._store.ballot(name)
        if ballot is None or ballot.voter != voter or ballot.scene not in self._scenes.by_name:
            raise UnknownError("there is no such question", hint="load the page again")
        return ballot

    def scene(self, ballot: Ballot) -> Scene:
        """Return what a question is about."""
        return self._scenes.by_name[ballot.scene]

    def progress(self, voter: str) -> Progress:
        """Return how far a voter is."""
        voted = [ballot for ballot in self._ballots() if ballot.choice is not None]
        return Progress(
            answered=sum(ballot.voter == voter for ballot in voted), all=len(self._all), everybody=len(voted)
        )

    def ranking(self) -> Ranking:
        """Rank the models of the report by everybody's votes."""
        return rank(self._scenes.models, _votes(self._ballots()))

    def _ballots(self) -> list[Ballot]:
        """Return the ballots about what the report still holds."""
        possible = set(self._all)
        return [ballot for ballot in self._store.ballots() if (ballot.scene, ballot.pair) in possible]

    def _choose(
        self, left: Sequence[tuple[str, tuple[str, str]]], ballots: Sequence[Ballot]
    ) -> tuple[str, tuple[str, str]]:
        """Return the question whose pair of models needs votes most, about a scene that had few; chance decides rest.

        Open questions of others count as votes, so that several voters don't all get the same one.
        """
        pairs = Counter(ballot.pair for ballot in ballots)
        questions = Counter((ballot.scene, ballot.pair) for ballot in ballots)
        scenes = Counter(ballot.scene for ballot in ballots)
        certainty = self._certainties(ballots)

        def need(question: tuple[str, tuple[str, str]]) -> tuple[float, ...]:
            scene, pair = question
            few = min(pairs[pair], FEW_VOTES)
            return few, certainty.get(pair, 0.0), questions[question], scenes[scene], self._chance.random()

        return min(left, key=need)

    def _certainties(self, ballots: Sequence[Ballot]) -> dict[tuple[str, str], float]:
        # Without clusters, alike votes are few and counted: this is asked before every question.
        duels = rank(self._scenes.models, [replace(vote, cluster="") for vote in _votes(ballots)]).duels
        return {(min(duel.better, duel.worse), max(duel.better, duel.worse)): duel.certainty for duel in duels}


def _votes(ballots: Sequence[Ballot]) -> list[Vote]:
    return [
        Vote(first=ballot.left, second=ballot.right, outcome=_OUTCOMES[ballot.choice], cluster=ballot.scene)
        for ballot in ballots if ballot.choice is not None
    ]
