"""Decoding pictures of strangers in a child with limits: what goes wrong there takes that child and nothing else.

`Decoder.decode` is `images.decode` by other means. Where the system has no such limits (Windows) the time by the clock
is left, and that a crash takes the child alone.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Final

from edge_runtime import images, serial
from edge_runtime.child import Child, ChildError, Patience, Spawner
from edge_runtime.errors import ImageError, ImageSizeError, NanoedgeError, from_fields, to_fields
from edge_runtime.limits import Limits
from edge_runtime.messages import Message
from edge_runtime.request import Size

logger = logging.getLogger(__name__)

ROLE: Final = "decoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a decoder may use: address space, and processor time by the size of the picture.

    The worst pictures that are accepted (50 megapixels, turned, 16 bits a channel, other colours) took 1 GB of
    addresses and 7 s on a busy machine.
    """

    memory_bytes: int = 3 << 29
    least_seconds: float = 2.0
    seconds_per_megapixel: float = 0.5

    def seconds(self, pixels: int) -> int:
        """Return the whole seconds of processor time that a picture may take."""
        return math.ceil(self.least_seconds + self.seconds_per_megapixel * pixels / 1e6)


_CLOCK_FACTOR: Final = 5.0
"""Seconds by the clock for one of processor time, before a decoder counts as hung: others use the machine too."""

_IDLE_SECONDS: Final = 5.0

# One thread: those that wait reserve addresses, which are limited here.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_OUT_OF_TIME: Final = int(getattr(signal, "SIGXCPU", 0))


class Decoder:
    """One child that decodes, started when first needed and again after it ended. Safe to share between threads."""

    def __init__(self, spawner: Spawner, bounds: Bounds | None = None) -> None:
        self._spawner, self._bounds, self._lock = spawner, bounds or Bounds(), threading.Lock()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Return the child's process id, None before it was needed."""
        child = self._child
        return None if child is None else child.pid

    def start(self) -> None:
        """Start the child now, so that the first picture needn't wait for it."""
        with self._lock:
            self._started()

    def decode(self, data: bytes, limits: Limits, fit: Size | None = None) -> images.Photo:
        """See `images.decode`. Raises ImageError too for a picture that ends the decoder, twice."""
        width, height = images.size_of(data, limits)
        seconds = self._bounds.seconds(width * height)
        asked = Message("decode", {
            "max_bytes": limits.max_bytes, "max_pixels": limits.max_pixels, "fit": serial.size_fields(fit),
            "seconds": seconds, "memory_bytes": self._bounds.memory_bytes,
        }, (data,))  # fmt: skip
        with self._lock:
            try:
                return self._photo(asked, seconds)
            except ChildError as error:
                logger.warning("a decoder was lost: %s", error)
                if error.number == _OUT_OF_TIME:
                    raise _too_costly(seconds) from error
            try:
                return self._photo(asked, seconds)
            except ChildError as error:
                raise ImageError(
                    "the picture can't be decoded: it ended the decoder twice", got=str(error),
                    hint="save it again as JPEG or PNG", code="breaks_decoder", param="image",
                ) from error

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._child is not None:
                self._child.end()
                self._child = None

    def _photo(self, asked: Message, seconds: int) -> images.Photo:
        child = self._started()
        try:
            child.send(asked)
            silent_seconds = _IDLE_SECONDS + _CLOCK_FACTOR * seconds
            answer = child.receive(Patience(idle_seconds=_IDLE_SECONDS, silent_seconds=silent_seconds))
        except ChildError:
            self._child = None
            raise
        try:
            if answer.kind == "photo":
                return serial.photo_from(answer)
            error = from_fields(answer.fields)
        except (LookupError, TypeError, ValueError) as unclear:  # a picture that took the child over speaks for it
            child.end(at_once=True)
            self._child = None
            raise ChildError("it said what a decoder doesn't say", "speech") from unclear
        raise error

    def _started(self) -> Child:
        if self._child is not None and not self._child.alive:
            self._child.end()
            self._child = None
        if self._child is None:
            self._child = self._spawner.spawn(ROLE, _ENVIRONMENT)
        return self._child


def _too_costly(seconds: int) -> ImageSizeError:
    return ImageSizeError(
        "the picture takes too long to decode", got=f"more than {seconds} s", hint="save it again as JPEG or PNG",
        code="image_too_costly", param="image",
    )


def answer(asked: Message) -> Message:
    """Decode what a message holds, in the child."""
    fields = asked.fields
    _limit(fields["memory_bytes"], fields["seconds"])
    limits = Limits(max_bytes=fields["max_bytes"], max_pixels=fields["max_pixels"])
    try:
        return serial.photo_message(images.decode(bytes(asked.parts[0]), limits, serial.size_from(fields["fit"])))
    except NanoedgeError as error:
        return Message("error", to_fields(error))


def _limit(memory_bytes: int, seconds: int) -> None:
    """Let this process have no more memory, and the system end it when it uses so much more processor time."""
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        resource.RLIMIT_CORE: 0, resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: math.ceil(usage.ru_utime + usage.ru_stime) + seconds,
    }
    for kind, amount in limits.items():
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (amount if most == resource.RLIM_INFINITY else min(amount, most), most))
