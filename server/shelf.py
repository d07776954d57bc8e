"""The stored results of whoever asks: what a view needs to go on from one, to store one, and to link to it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, request

from edge_runtime.errors import StateError
from edge_runtime.request import EditResult
from server.caller import caller
from server.inputs import Fields
from server.node import current_node
from server.problems import logged, message
from server.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One caller's results; `base` is where the server was asked. Needs no request any more."""

    results: Results
    caller: str
    base: str
    request_id: str

    def check(self, fields: Fields) -> None:
        """Raise NothingKeptError for a request whose result could not be stored: before the work, not after it."""
        if fields.flag("store") or fields.text("parent") is not None or fields.text("response_format") == "url":
            self.results.check()

    def get(self, address: str) -> bytes:
        """Return the picture of an address; raises OptionError, UnknownError."""
        return self.results.get(self.caller, address)

    def put(self, result: EditResult) -> tuple[str | None, tuple[str, ...]]:
        """Store a result; returns its address, or warnings that say why it has none."""
        return stored(self.results, self.caller, result, self.request_id)

    def put_if_wanted(self, result: EditResult, fields: Fields) -> tuple[str | None, tuple[str, ...]]:
        """Store a result whose request asks for that, or goes on from a stored one; returns what `put` does."""
        wanted = fields.flag("store") or fields.text("parent") is not None
        return self.put(result) if wanted else (None, ())

    def link(self, address: str) -> str:
        """Return a link for browsers."""
        return self.results.link(self.caller, address, self.base)


def stored(results: Results, caller: str, result: EditResult, name: str) -> tuple[str | None, tuple[str, ...]]:
    """Store a result; returns its address, or warnings: what was made and perhaps paid for isn't lost for that.

    `name` is the request's or the job's, for the log.
    """
    try:
        return results.put(caller, result.image, result.media_type), ()
    except StateError as error:
        logged(error, name)
        return None, (f"the result is not stored and has no address: {message(error)}",)


def current_shelf() -> Shelf:
    """Return the shelf of the current request's caller."""
    return Shelf(results=current_node().results, caller=caller(), base=request.url_root, request_id=g.request_id)
