"""Decoding pictures of strangers in a child with limits: what goes wrong there takes that child and nothing else.

`Decoder.decode` is `images.decode` by other means. The limits: `MEMORY_BYTES` of address space, and processor time
by the picture's size.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from typing import Any, Final

from edge_runtime import images, serial
from edge_runtime.child import Child, ChildError, Patience, Spawner
from edge_runtime.errors import ImageError, ImageSizeError, NanoedgeError, from_fields, to_fields
from edge_runtime.limits import Limits
from edge_runtime.messages import Message
from edge_runtime.request import Size

logger = logging.getLogger(__name__)

ROLE: Final = "decoder"
MEMORY_BYTES: Final = 3 << 29
"""1.5 GiB of addresses: a turned photo of 50 megapixels with 16 bits a channel fits, see tests."""

_LEAST_SECONDS: Final = 2.0
_SECONDS_PER_MEGAPIXEL: Final = 0.5
"""Of processor time. The slowest format (AVIF) takes a tenth of it on a server's core."""

_CLOCK_FACTOR: Final = 5.0
"""Seconds by the clock for one of processor time, before a decoder counts as hung: others use the machine too."""

_IDLE_SECONDS: Final = 5.0

# One thread: those that wait reserve addresses, which are limited here.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_OUT_OF_TIME: Final = int(getattr(signal, "SIGXCPU", 0))


class Decoder:
    """One child that decodes, started when first needed and again after it ended. Safe to share between threads."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner, self._lock = spawner, threading.Lock()
        self._child: Child | None = None

    def start(self) -> None:
        """Start the child now, so that the first picture needn't wait for it."""
        with self._lock:
            self._started()

    def decode(self, data: bytes, limits: Limits, fit: Size | None = None) -> images.Photo:
        """See `images.decode`. Raises ImageError too for a picture that ends the decoder, twice."""
        width, height = images.size_of(data, limits)
        seconds = math.ceil(_LEAST_SECONDS + _SECONDS_PER_MEGAPIXEL * width * height / 1e6)
        asked = Message("decode", {
            "max_bytes": limits.max_bytes, "max_pixels": limits.max_pixels, "fit": serial.size_fields(fit),
            "seconds": seconds,
        }, (data,))  # fmt: skip
        with self._lock:
            try:
                return self._photo(asked, seconds)
            except ChildError as error:
                logger.warning("a decoder was lost: %s", error)
                if error.number == _OUT_OF_TIME or error.reason == "hung":
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
            answer = child.receive(Patience(idle_seconds=_IDLE_SECONDS, silent_seconds=_CLOCK_FACTOR * seconds))
        except ChildError:
            self._child = None
            raise
        if answer.kind == "photo":
            return serial.photo_from(answer)
        raise from_fields(answer.fields)

    def _started(self) -> Child:
        if self._child is None or not self._child.alive:
            self._child = self._spawner.spawn(ROLE, _ENVIRONMENT)
        return self._child


def _too_costly(seconds: int) -> ImageSizeError:
    return ImageSizeError(
        "the picture takes too long to decode", got=f"more than {seconds} s", hint="save it again as JPEG or PNG",
        code="image_too_costly", param="image",
    )


def limit_memory() -> None:
    """Limit this process for good, where the system can: no core dump, and no address space beyond `MEMORY_BYTES`."""
    if sys.platform == "win32":
        return
    import resource

    for kind, amount in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, MEMORY_BYTES)):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (amount if most == resource.RLIM_INFINITY else min(amount, most), most))


def answer(asked: Message) -> Message:
    """Decode what a message holds, in the child."""
    fields = asked.fields
    _limit_time(fields["seconds"])
    limits = Limits(max_bytes=fields["max_bytes"], max_pixels=fields["max_pixels"])
    try:
        return serial.photo_message(images.decode(bytes(asked.parts[0]), limits, serial.size_from(fields["fit"])))
    except NanoedgeError as error:
        return Message("error", to_fields(error))


def _limit_time(seconds: Any) -> None:
    """Let the system end this process when it uses so much more processor time."""
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime) + int(seconds), most))
