"""Every error that nanoedge raises on purpose, in one tree.

    NanoedgeError                500, exit 1
    ├── InputError               400, exit 2   what the caller sent can't be used
    │   ├── ImageError           400           truncated, empty, 0x0
    │   │   ├── ImageTypeError   415           not an image, or a format that is not read
    │   │   └── ImageSizeError   413           too many bytes or pixels
    │   ├── InstructionError     400           empty, too long, not text
    │   ├── PlanError            400           an edit plan with unknown or out-of-range members
    │   ├── OptionError          400           size, output format, quality, n ...
    │   └── UrlError             400           image_url forbidden or unreachable
    ├── UnknownModelError        404, exit 3
    ├── ArtifactError            500, exit 4   damaged, of an unknown version, or unsafe
    ├── EngineError              500, exit 5   the hardware backend can't do what was asked
    ├── MissingExtraError        501, exit 6   a library of an optional extra is not installed
    ├── ConversionError          500, exit 7   a checkpoint can't be converted
    └── BusyError                503, exit 8   the node can't take another edit now

A message answers four questions: what, got, allowed, what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class NanoedgeError(Exception):
    """Base class. `status` is the HTTP status, `exit_code` the command's, `code` a stable slug."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        allowed: object = None,
        hint: str = "",
        code: str = "",
        param: str | None = None,
    ) -> None:
        """Compose the message. `param` names the request field at fault, if there is one."""
        parts = [what.rstrip(".")]
        if got is not None:
            parts.append(f"got {_shorten(got)}")
        if allowed is not None:
            parts.append(f"allowed: {_shorten(allowed, 400)}")
        if hint:
            parts.append(hint.rstrip("."))
        super().__init__(". ".join(part[:1].upper() + part[1:] for part in parts) + ".")
        self.code = code or self.default_code
        self.param = param


class InputError(NanoedgeError):
    """What the caller sent can't be used."""

    status, exit_code, default_code = 400, 2, "bad_input"


class ImageError(InputError):
    """The photo is empty, truncated or damaged."""

    default_code = "bad_image"


class ImageTypeError(ImageError):
    """Not an image, or of a format that is not read."""

    status, default_code = 415, "unsupported_image"


class ImageSizeError(ImageError):
    """Too many bytes or pixels."""

    status, default_code = 413, "image_too_large"


class InstructionError(InputError):
    """The instruction is empty, too long or missing."""

    default_code = "bad_instruction"


class PlanError(InputError):
    """The edit plan has unknown or out-of-range members."""

    default_code = "bad_plan"


class OptionError(InputError):
    """An option such as size, format or quality can't be used."""

    default_code = "bad_option"


class UrlError(InputError):
    """The image_url is forbidden or unreachable."""

    default_code = "bad_image_url"


class UnknownModelError(NanoedgeError):
    """There is no model of this name here."""

    status, exit_code, default_code = 404, 3, "model_not_found"


class ArtifactError(NanoedgeError):
    """The artifact is damaged, of an unknown version, or unsafe."""

    exit_code, default_code = 4, "bad_artifact"


class EngineError(NanoedgeError):
    """The hardware backend can't do what was asked."""

    exit_code, default_code = 5, "engine_failed"


class MissingExtraError(NanoedgeError):
    """A library of an optional extra is not installed."""

    status, exit_code, default_code = 501, 6, "missing_extra"


class ConversionError(NanoedgeError):
    """The checkpoint can't be converted."""

    exit_code, default_code = 7, "conversion_failed"


class BusyError(NanoedgeError):
    """Raised with `retry_after_seconds`, which the server sends as Retry-After."""

    status, exit_code, default_code = 503, 8, "busy"
    retry_after_seconds: int = 1


def _shorten(value: object, limit: int = 120) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
