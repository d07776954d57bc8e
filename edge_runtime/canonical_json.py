"""The JSON of manifests: strict to read, and with exactly one spelling to write. docs/artifact-format.md has the rules.

Knows nothing about manifests; the limits here protect a reader from hostile bytes before it looks at any member.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from edge_runtime.errors import ArtifactError

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 262_144
MAX_KEY_CHARACTERS: Final = 256
MAX_INTEGER: Final = 2**53 - 1
CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# A whole string, or one structural character. The closing quote is optional, so that a string without an end matches
# too and the scan stays linear.
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{},]', re.DOTALL)
_TYPE_NAMES: Final = {str: "a string", int: "an integer", list: "a list", dict: "an object"}


def encode(data: object) -> bytes:
    """Return the one spelling of `data`: sorted keys, indent 2, UTF-8, a newline at the end.

    Raises ArtifactError for anything that JSON, or the limits of this module, can't carry.
    """
    text = json.dumps(plain(data), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    encoded = text.encode()
    _check_size(len(encoded))
    return encoded


def decode(encoded: bytes) -> Any:
    """Return the value in strict JSON; raises ArtifactError on duplicate keys, NaN, or a limit that is passed."""
    _check_size(len(encoded))
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError("the manifest is not UTF-8", got=error.reason, hint="convert the model again") from error
    _check_extent(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_safe_integer,
        )
    except json.JSONDecodeError as error:
        raise ArtifactError("the manifest is not JSON", got=str(error), hint="convert the model again") from error
    return plain(value)


def plain(value: object, where: str = "the manifest", depth: int = 1) -> Any:
    """Return a copy of `value` made only of dict, list, str, int, float, bool and None; raises ArtifactError."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_string(value, where)
    if isinstance(value, int):
        return _safe_integer(str(int(value)), where)
    if isinstance(value, float):
        return _finite_float(repr(float(value)), where)
    if depth > MAX_DEPTH:
        raise ArtifactError(f"{where} is nested too deeply", allowed=f"{MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {(name := _key(key, where)): plain(item, f"{where}.{name}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise ArtifactError(
        f"{where} can't be written as JSON",
        got=type(value).__name__,
        allowed="object, list, string, integer, finite number, true, false, null",
    )


def members(data: object, types: Mapping[str, type], where: str) -> dict[str, Any]:
    """Return a copy of `data`, an object with exactly the members in `types`, of those types; raises ArtifactError."""
    if not isinstance(data, dict):
        raise ArtifactError(f"{where} must be an object", got=ascii(data))
    if unknown := set(data) - set(types):
        raise ArtifactError(f"{where} has unknown members", got=", ".join(sorted(unknown)), allowed=", ".join(types))
    if missing := set(types) - set(data):
        raise ArtifactError(f"{where} lacks {', '.join(sorted(missing))}", allowed=", ".join(types))
    for name, wanted in types.items():
        if type(data[name]) is not wanted:  # `is`, because True would pass as an integer
            raise ArtifactError(
                f"{where}.{name} has the wrong type", got=ascii(data[name]), allowed=_TYPE_NAMES[wanted]
            )
    return dict(data)


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_JSON_BYTES:
        raise ArtifactError(
            "the manifest is too large",
            got=f"{size_bytes} bytes",
            allowed=f"{MAX_JSON_BYTES} bytes",
            hint="put large data into a component of its own",
        )


def _check_extent(text: str) -> None:
    """Bound depth and number of values before the parser, which is recursive, allocates anything."""
    depth, values = 0, 1
    for token in _TOKEN.finditer(text):
        symbol = token.group()[0]
        if symbol in "[{":
            depth += 1
        elif symbol in "]}":
            depth -= 1
        values += symbol in "[{,"
        if depth > MAX_DEPTH:
            raise ArtifactError("the manifest is nested too deeply", allowed=f"{MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise ArtifactError("the manifest has too many values", allowed=f"{MAX_VALUES} values")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ArtifactError("a key occurs twice in one object of the manifest", got=ascii(repeated))
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ArtifactError("the manifest has a number that JSON doesn't know", got=name, allowed="finite numbers")


def _safe_integer(digits: str, where: str = "the manifest") -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise ArtifactError(f"{where} has an integer that is too large", got=digits, allowed=f"up to {MAX_INTEGER}")
    return int(digits)


def _finite_float(text: str, where: str = "the manifest") -> float:
    if not math.isfinite(number := float(text)):
        raise ArtifactError(f"{where} has a number that is not finite", got=text, allowed="finite numbers")
    return number


def _plain_string(text: str, where: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ArtifactError(f"{where} has a string with U+0000 or half a surrogate pair", got=ascii(text))
    return str.__str__(text)  # an exact str also for a str enum


def _key(key: object, where: str) -> str:
    """Return a key that every reader takes for the same one, and that an error message may show."""
    usable = isinstance(key, str) and len(key) <= MAX_KEY_CHARACTERS and not CONTROL_CHARACTER.search(key)
    if not usable or not unicodedata.is_normalized("NFC", str(key)):
        raise ArtifactError(
            f"{where} has a key that is not usable",
            got=ascii(key),
            allowed=f"at most {MAX_KEY_CHARACTERS} characters in Unicode normal form C, no control characters",
        )
    return _plain_string(str(key), where)
