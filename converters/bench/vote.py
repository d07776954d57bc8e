"""`nanoedge bench vote`: the page that people vote on, and the ranking of their votes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from converters.columns import aligned
from edge_runtime.errors import InputError, OptionError

if TYPE_CHECKING:
    from converters.bench.election import Election
    from converters.bench.ranking import Ranking

VOTES_FILE: Final = "votes.sqlite"
_BACKLOG: Final = 64
_THREADS: Final = 4


@click.command()
@click.argument("report", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help=f"Where votes are kept, in SQLite. [default: {VOTES_FILE} in REPORT]",
)
@click.option("--insecure-public", is_flag=True, help="Allow an address that other machines reach, without TLS.")
@click.option("--ranking", "as_ranking", is_flag=True, help="Print the ranking instead, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --ranking: for machines.")
def vote(
    report: Path, host: str, port: int, out: Path | None, insecure_public: bool, as_ranking: bool, as_json: bool
) -> None:
    """Let people choose between the results in REPORT, a folder that nanoedge bench wrote.

    Opens a page that shows a photo and two results in random order, without saying who made them. Each vote is kept
    at once; Ctrl-C ends the page, and voting can go on later.

    nanoedge bench vote report --ranking
    """
    if as_json and not as_ranking:
        raise OptionError("the page has no JSON", got="--json", hint="add --ranking")
    file = out or report / VOTES_FILE
    with _election(report, file, must_exist=as_ranking) as election:
        if as_ranking:
            ranking = election.ranking()
            click.echo(json.dumps(asdict(ranking), indent=2) if as_json else described(ranking))
            return
        _serve(election, host, port, insecure_public)
        click.echo(f"votes in {file}: {election.ranking().votes}; --ranking ranks the models by them", err=True)


@contextmanager
def _election(report: Path, file: Path, must_exist: bool) -> Iterator[Election]:
    from converters.bench.election import Election
    from converters.bench.scenes import read_scenes
    from converters.bench.vote_store import VoteStore

    scenes = read_scenes(report)
    if scenes.without_picture:
        click.echo(f"{scenes.without_picture} edits without a picture are left out", err=True)
    if scenes.same:
        pairs = f"{scenes.same} of {scenes.same + scenes.different} pairs"
        click.echo(f"{pairs} are left out: both models made the very same picture", err=True)
    if must_exist and not file.exists():
        raise InputError("there are no votes yet", got=file, hint=f"let people vote: nanoedge bench vote {report}")
    store = VoteStore(file)
    try:
        store.remember(scenes.digests())
        yield Election(scenes, store)
    finally:
        store.close()


def _serve(election: Election, host: str, port: int, insecure_public: bool) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from waitress.server import create_server  # type: ignore[import-untyped]

    from converters.bench.vote_app import create_app
    from edge_runtime.listening import listen, url_of

    def refuse_public(private: bool) -> None:
        if not private and not insecure_public:
            raise OptionError(
                "this address can be reached from other machines, which could see the photos and vote", got=host,
                allowed="127.0.0.1, ::1, localhost", hint="--insecure-public lets in everybody who can reach it",
            )

    with listen(host, port, _BACKLOG, refuse_public) as listening:
        server = create_server(create_app(election, host), sockets=[listening], threads=_THREADS, ident="nanoedge")
        signal.signal(signal.SIGTERM, _stop)
        click.echo(f"vote on {url_of(listening)} (Ctrl-C ends it)", err=True)
        server.run()  # returns on KeyboardInterrupt, after the answers that are under way


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def described(ranking: Ranking) -> str:
    """Return the ranking as tables for people."""
    parts = [f"{ranking.votes} votes"]
    for number, group in enumerate(ranking.groups):
        standings = [one for one in ranking.standings if one.group == number]
        if not any(one.won + one.equal + one.lost for one in standings):
            continue
        rows = [["", "model", "won", "equal", "lost", "score", "95 %"]]
        rows += [
            [str(place), one.model, str(one.won), str(one.equal), str(one.lost), f"{round(one.score.value):+d}",
             f"{round(one.score.low):+d} to {round(one.score.high):+d}"]
            for place, one in enumerate(standings, start=1)
        ]
        parts.append(aligned(rows))
        duels = [["better", "than", "votes", "chosen", "95 %", ""]]
        duels += [
            [duel.better, duel.worse, str(duel.votes), f"{duel.chance.value:.0%}",
             f"{duel.chance.low:.0%} to {duel.chance.high:.0%}", "" if duel.chance.low > 0.5 else "not decided"]
            for duel in ranking.duels if duel.better in group
        ]
        parts.append(aligned(duels))
    if not ranking.votes:
        parts.append("Nobody has voted yet, so there is no ranking.")
    elif len(ranking.groups) > 1:
        groups = "; ".join(", ".join(group) for group in ranking.groups)
        parts.append(f"No votes connect these groups, so they can't be compared: {groups}.")
    if ranking.votes:
        parts.append(
            "The score is in Elo points around the group's mean: 100 more wins 64 % of the votes that aren't equal."
        )
    return "\n\n".join(parts)
