"""Voting without a browser: what is read, who is asked what, what is kept, and what the page's server refuses."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from converters.bench.election import FEW_VOTES, Election
from converters.bench.scenes import read_scenes
from converters.bench.vote import vote
from converters.bench.vote_store import Choice, VoteStore
from edge_runtime.errors import (
    ImageError,
    InputError,
    NanoedgeError,
    OptionError,
    RepeatError,
    StateError,
    UnknownError,
)
from tests.converters.bench.voting import BRIGHTNESS, MODELS, load, save, started_page, write_report

SCENES, PAIRS = 4, 3


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return write_report(tmp_path / "report")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VoteStore]:
    opened = VoteStore(tmp_path / "votes.sqlite")
    yield opened
    opened.close()


def answer(election: Election, voter: str, judge: Callable[[str, str], Choice]) -> bool:
    """Answer one question; false when none is left."""
    ballot = election.next(voter)
    if ballot is not None:
        election.vote(voter, ballot.name, judge(ballot.left, ballot.right))
    return ballot is not None


def by_brightness(left: str, right: str) -> Choice:
    return Choice.LEFT if BRIGHTNESS[left] > BRIGHTNESS[right] else Choice.RIGHT


@dataclass
class Browser:
    """A client with a browser's cookie."""

    url: str
    cookie: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.cookie = self.ask("GET", "/")[1]["Set-Cookie"].partition(";")[0]

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        sent = {"Cookie": self.cookie, "Content-Type": "application/json", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def told(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        status, _, content = self.ask(method, path, body)
        assert status == 200, content
        found: dict[str, Any] = json.loads(content)
        return found


def test_every_scene_has_its_pictures(report: Path) -> None:
    scenes = read_scenes(report)
    assert scenes.models == MODELS and len(scenes.by_name) == SCENES
    for scene in scenes.by_name.values():
        assert set(scene.pictures) == set(MODELS) and scene.before.name == "before.jpg"
        assert len(list(scene.pairs())) == PAIRS


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/hostname", "pictures/../../outside.jpg", "pictures/link.jpg"])
def test_a_picture_outside_the_report_is_refused(report: Path, path: str) -> None:
    (report.parent / "outside.jpg").write_bytes((report / "pictures/light-1/coffee/before.jpg").read_bytes())
    (report / "pictures/link.jpg").symlink_to(report.parent / "outside.jpg")
    found = load(report)
    found["edits"][0]["picture"] = path
    save(report, found)
    with pytest.raises(InputError, match="lies outside it"):
        read_scenes(report)


def _one_model(found: dict[str, Any]) -> None:
    found["models"] = found["models"][:1]
    found["edits"] = [edit for edit in found["edits"] if edit["model"] == MODELS[0]]


def _no_pictures(found: dict[str, Any]) -> None:
    for edit in found["edits"]:
        edit["picture"] = None


def _stranger(found: dict[str, Any]) -> None:
    found["edits"][0]["model"] = "nobody"


def _gone(found: dict[str, Any]) -> None:
    found["edits"][0]["picture"] = "pictures/gone.jpg"


def _no_cases(found: dict[str, Any]) -> None:
    del found["cases"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_model, "only compare two models.*ember-fp32.*nanoedge bench"), (_no_pictures, "no photo in the report"),
        (_stranger, "not listed.*nobody"), (_gone, "gone.jpg can't be read"), (_no_cases, "cases must be a list"),
    ],
)
def test_a_report_that_cant_be_voted_on_says_why(
    report: Path, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    found = load(report)
    spoil(found)
    save(report, found)
    with pytest.raises(InputError, match=f"(?i){message}"):
        read_scenes(report)


def test_what_is_no_picture_is_refused_before_anybody_votes(report: Path) -> None:
    (report / "pictures/light-1/coffee" / f"{MODELS[0]}.jpg").write_text("no pixels")
    with pytest.raises(ImageError, match="(?i)image|picture"):
        read_scenes(report)


def test_a_folder_that_is_no_report_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no report"):
        read_scenes(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_scenes(tmp_path)


def test_edits_without_a_picture_are_left_out(report: Path) -> None:
    found = load(report)
    found["edits"][0]["picture"] = None
    save(report, found)
    scenes = read_scenes(report)
    assert scenes.without_picture == 1
    assert sorted(len(scene.pictures) for scene in scenes.by_name.values()) == [2, 3, 3, 3]


def test_nobody_is_asked_about_the_very_same_picture(report: Path, store: VoteStore) -> None:
    first, second = (report / "pictures/light-1/coffee" / f"{model}.jpg" for model in MODELS[:2])
    second.write_bytes(first.read_bytes())
    scenes = read_scenes(report)
    assert scenes.same == 1
    election = Election(scenes, store)
    while answer(election, "v", by_brightness):
        pass
    asked = {(ballot.scene, ballot.pair) for ballot in store.ballots()}
    assert len(asked) == SCENES * PAIRS - 1 and ("light-1/coffee.jpg", tuple(sorted(MODELS[:2]))) not in asked
    for picture in report.glob("pictures/*/*/ember*.jpg"):
        picture.write_bytes((picture.parent / "before.jpg").read_bytes())
    with pytest.raises(InputError, match="nothing to choose"):
        read_scenes(report)


def test_a_voter_is_asked_everything_once_and_pairs_take_turns(report: Path, store: VoteStore) -> None:
    election = Election(read_scenes(report), store, random.Random(0))
    for number in itertools.count():
        pairs = Counter(ballot.pair for ballot in store.ballots())
        if number <= FEW_VOTES:
            assert max(pairs.values(), default=0) - min(pairs.values(), default=0) <= 1 or len(pairs) < PAIRS
        if not answer(election, "v", by_brightness):
            break
    assert number == SCENES * PAIRS
    assert len({(ballot.scene, ballot.pair) for ballot in store.ballots()}) == number
    assert (election.progress("v").answered, election.progress("v").all) == (number, number)
    assert [one.model for one in election.ranking().standings] == list(MODELS)


def test_beyond_a_few_votes_the_undecided_pair_is_asked_about(report: Path, store: VoteStore) -> None:
    """The first two models are hard to tell apart: their pair gets the votes, the decided ones don't."""
    election, chance = Election(read_scenes(report), store, random.Random(0)), random.Random(1)
    close = tuple(sorted(MODELS[:2]))

    def judge(left: str, right: str) -> Choice:
        return chance.choice(list(Choice)) if {left, right} == set(close) else by_brightness(left, right)

    for voter in range(20):
        for _ in range(4):
            answer(election, f"v{voter}", judge)
    pairs = Counter(ballot.pair for ballot in store.ballots())
    assert min(pairs.values()) >= FEW_VOTES and pairs[close] > 2 * max(pairs[pair] for pair in pairs if pair != close)


def test_sides_are_drawn_by_chance(report: Path, store: VoteStore) -> None:
    election = Election(read_scenes(report), store)
    for voter in range(12):
        while answer(election, f"v{voter}", by_brightness):
            pass
    sides = Counter(ballot.left < ballot.right for ballot in store.ballots())
    assert sum(sides.values()) == 144 and min(sides.values()) > 72 - 4 * 6  # four standard deviations


def test_several_voters_get_different_questions_and_can_t_answer_each_other_s(report: Path, store: VoteStore) -> None:
    election = Election(read_scenes(report), store)
    ballots = {voter: election.next(voter) for voter in "abcdefghijkl"}
    assert len({(ballot.scene, ballot.pair) for ballot in ballots.values() if ballot}) == 12
    first = ballots["a"]
    assert first is not None and election.next("a") == first  # a page that is loaded again
    with pytest.raises(UnknownError):
        election.vote("b", first.name, Choice.LEFT)
    election.vote("a", first.name, Choice.LEFT)
    election.vote("a", first.name, Choice.LEFT)  # an answer that got lost is sent again
    with pytest.raises(RepeatError):
        election.vote("a", first.name, Choice.RIGHT)


def test_undo_takes_back_one_vote_after_the_other(report: Path, store: VoteStore) -> None:
    election = Election(read_scenes(report), store)
    names = []
    for _ in range(3):
        ballot = election.next("v")
        assert ballot is not None
        names.append(ballot.name)
        election.vote("v", ballot.name, Choice.EQUAL)
    election.next("v")
    for name in reversed(names):
        undone = election.undo("v")
        assert undone is not None and undone.name == name
        assert election.next("v") == undone
    assert election.undo("v") is None and election.progress("v").answered == 0


def test_votes_survive_kill_9_and_the_open_page_goes_on(report: Path) -> None:
    with started_page(report) as (url, process):
        browser = Browser(url)
        told = browser.told("GET", "/question")
        for _ in range(3):
            told = browser.told("POST", "/vote", {"name": told["question"]["name"], "choice": "left"})
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    cookie = browser.cookie
    with started_page(report) as (url, _):
        browser.url = url
        assert browser.told("GET", "/question") == told and browser.cookie == cookie
        told = browser.told("POST", "/vote", {"name": told["question"]["name"], "choice": "equal"})
        assert told["progress"] == {"answered": 4, "all": 12, "everybody": 4}
        other = Browser(url)
        assert other.told("GET", "/question")["progress"] == {"answered": 0, "all": 12, "everybody": 4}
        name = told["question"]["name"]
        assert other.ask("GET", f"/picture/{name}/left")[0] == 404
        _refusals(browser, name)
    connection = sqlite3.connect(report / "votes.sqlite")
    with connection:
        assert connection.execute("SELECT choice FROM ballots WHERE choice IS NOT NULL").fetchall() == [
            ("left",), ("left",), ("left",), ("equal",),
        ]
    connection.close()


def _refusals(browser: Browser, name: str) -> None:
    vote_left = ("POST", "/vote", {"name": name, "choice": "left"})
    for headers, status, said in (
        ({"Host": "evil.example"}, 403, "Use the address"),
        ({"Host": "127.0.0.1.evil.example"}, 403, "Use the address"),
        ({"Origin": "http://evil.example"}, 403, "other sites"), ({"Cookie": ""}, 403, "Load the page again"),
        ({"Content-Type": "text/plain"}, 400, "JSON object"),
    ):
        found, header, content = browser.ask(*vote_left, **headers)
        assert found == status and said in json.loads(content)["error"]["message"]
        assert "default-src 'none'" in header["Content-Security-Policy"]
    assert b"Allowed: left, right, equal" in browser.ask("POST", "/vote", {"name": name, "choice": "best"})[2]
    assert browser.ask("POST", "/vote", {"name": "x", "choice": "left"})[0] == 404
    assert browser.ask("GET", f"/picture/{name}/..%2freport.json")[0] == 404
    assert browser.ask("GET", "/page/..%2fvote.py")[0] == 404
    policy = browser.ask("GET", "/")[1]["Content-Security-Policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy


def test_the_ranking_is_printed(report: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept" / "votes.sqlite"
    store = VoteStore(file)
    election = Election(read_scenes(report), store)
    while answer(election, "v", by_brightness):
        pass
    store.close()
    arguments = [str(report), "--out", str(file), "--ranking"]
    result = CliRunner().invoke(vote, arguments, catch_exceptions=False)
    assert result.stdout.startswith("12 votes") and result.stdout.index(MODELS[0]) < result.stdout.index(MODELS[2])
    found = json.loads(CliRunner().invoke(vote, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert [one["model"] for one in found["standings"]] == list(MODELS) and found["votes"] == 12
    assert {"value", "low", "high"} == set(found["duels"][0]["chance"])


def test_models_that_nobody_compared_are_said_to_be_incomparable(
    report: Path, store: VoteStore, tmp_path: Path
) -> None:
    ballot = store.issue("v", next(iter(read_scenes(report).by_name)), MODELS[0], MODELS[1])
    store.vote(ballot.name, Choice.LEFT)
    arguments = [str(report), "--out", str(tmp_path / "votes.sqlite"), "--ranking"]
    result = CliRunner().invoke(vote, arguments, catch_exceptions=False)
    assert f"can't be compared: {MODELS[0]}, {MODELS[1]}; {MODELS[2]}" in result.stdout


def test_votes_on_other_pictures_are_not_mixed_in(report: Path, store: VoteStore) -> None:
    store.remember(read_scenes(report).digests())
    store.remember(read_scenes(report).digests())
    picture = report / "pictures/light-1/coffee" / f"{MODELS[0]}.jpg"
    picture.write_bytes((report / "pictures/light-1/coffee/before.jpg").read_bytes())
    with pytest.raises(InputError, match=rf"1 of the report have changed.*light-1/coffee.jpg by {MODELS[0]}.*--out"):
        store.remember(read_scenes(report).digests())


def test_what_is_no_file_of_votes_is_left_alone(report: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE precious (thing)")
    connection.commit()
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("these are no votes" * 100)
    before = other.read_bytes(), text.read_bytes()
    for file in (other, text, report):
        with pytest.raises(StateError, match="--out"):
            VoteStore(file)
    assert (other.read_bytes(), text.read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--ranking"], InputError, "no votes yet"), (["--json"], OptionError, "add --ranking"),
        (["--host", "0.0.0.0"], OptionError, "other machines.*--insecure-public"),
    ],
)
def test_the_command_refuses_clearly(
    report: Path, arguments: list[str], error: type[NanoedgeError], message: str
) -> None:
    result = CliRunner().invoke(vote, [str(report), *arguments])
    assert isinstance(result.exception, error)
    with pytest.raises(error, match=f"(?i){message}"):
        raise result.exception
    assert arguments != ["--ranking"] or not (report / "votes.sqlite").exists()


def test_ctrl_c_says_what_was_kept(report: Path) -> None:
    with started_page(report) as (url, process):
        browser = Browser(url)
        browser.told("POST", "/vote", {"name": browser.told("GET", "/question")["question"]["name"], "choice": "right"})
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None and ": 1;" in process.stderr.read()
