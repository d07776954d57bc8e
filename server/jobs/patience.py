"""What goes wrong for want of room may be right later: a job's result waits for it, and the log is told once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from edge_runtime.errors import FullError, NanoedgeError

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 2.0
_Kept = TypeVar("_Kept")


def kept(keep: Callable[[], _Kept], given_up: Callable[[], bool], name: str) -> _Kept:
    """Return what `keep` does, as soon as there is room for it; raises FullError when nobody waits for it any more.

    `name` is the job's, for the log.
    """
    said = False
    while True:
        try:
            done = keep()
        except FullError as error:
            if given_up():
                raise
            if not said:
                logger.error("job %s waits for room: %s", name, error)
            said = True
            time.sleep(PAUSE_SECONDS)
            continue
        if said:
            logger.warning("job %s found room", name)
        return done


class Trouble:
    """Tells the log what goes wrong again and again, once. For one thread."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log, self._what, self._said = log, what, ""

    def met(self, error: NanoedgeError) -> None:
        """Tell it unless it was told last."""
        if str(error) != self._said:
            self._said = str(error)
            self._log.error("%s: %s", self._what, error)

    def over(self) -> None:
        """Tell that it goes well again, if it did not."""
        if self._said:
            self._said = ""
            self._log.warning("%s: that is over", self._what)
