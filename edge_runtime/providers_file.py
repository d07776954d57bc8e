"""The file that names a node's providers, JSON because every Python reads it without another library.

    {"fallback": "allow",
     "providers": [{"name": "central", "kind": "openai-compatible", "base_url": "https://gpu.example.com/v1",
                    "model": "qwen-image-edit", "key_env": "CENTRAL_KEY", "price_usd": 0.01, "seconds": 6}]}

Keys are never in it: `key_env` names an environment variable. The environment is read here and nowhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge_runtime import plugins
from edge_runtime.advice import Advice
from edge_runtime.errors import OptionError
from edge_runtime.provider import Provider, ProviderSettings
from edge_runtime.route import AUTO, Fallback

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "name": (str,), "kind": (str,), "base_url": (str,), "model": (str,), "family": (str,), "key_env": (str,),
    "price_usd": (int, float), "seconds": (int, float), "timeout_seconds": (int, float), "good_for": (list,),
    "result_hosts": (list,), "options": (dict,), "plain_http": (bool,),
}  # fmt: skip
_NEEDED: Final = ("name", "kind", "base_url", "model")
_WORDS: Final = {
    str: "text", int: "a number", list: "a list of texts", dict: "an object of texts", bool: "true or false"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidersFile:
    """The providers, and what holds for requests that say nothing: never, unless the file says otherwise."""

    providers: tuple[ProviderSettings, ...] = ()
    fallback: Fallback = Fallback.NEVER

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str]) -> ProvidersFile:
        """Read and check a file; raises OptionError that names the provider and the member at fault."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise OptionError("the providers file can't be read", got=f"{path}: {error}") from error
        if not isinstance(data, dict) or not isinstance(data.get("providers"), list):
            raise OptionError("the providers file needs a list 'providers'", got=str(path))
        if unknown := set(data) - {"providers", "fallback"}:
            raise _wrong("unknown members", ", ".join(sorted(unknown)), "providers, fallback")
        kinds = Advice.read().kinds
        found = tuple(_provider(entry, environment, kinds) for entry in data["providers"])
        names = [provider.name for provider in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise _wrong("two providers have the same name", ", ".join(sorted(twice)))
        return cls(providers=found, fallback=Fallback.parse(str(data.get("fallback", Fallback.NEVER.value))))


def _provider(entry: Any, environment: Mapping[str, str], kinds: tuple[str, ...]) -> ProviderSettings:
    if not isinstance(entry, dict):
        raise _wrong("a provider must be an object", entry)
    where = f"provider {entry.get('name') or '(without a name)'}"
    _check_members(entry, where)
    good_for = _texts(entry, "good_for", where) or ()
    if unknown := set(good_for) - set(kinds):
        raise _wrong(f"{where}: unknown kinds in good_for", ", ".join(sorted(unknown)), ", ".join(kinds))
    kind: Provider = plugins.load("providers", entry["kind"])
    key = _key(entry, environment, where)
    _check_url(entry, where, has_key=bool(key))
    numbers = {name: float(entry[name]) for name in ("price_usd", "seconds", "timeout_seconds") if name in entry}
    return ProviderSettings(
        name=entry["name"], kind=entry["kind"], base_url=entry["base_url"], model=entry["model"],
        family=entry.get("family", ""), key=key, good_for=good_for,
        result_hosts=_texts(entry, "result_hosts", where), options=_options(entry, kind, where), **numbers,
    )


def _check_members(entry: Mapping[str, Any], where: str) -> None:
    if unknown := set(entry) - set(_TYPES):
        hint = "; a key is not written here, key_env names its environment variable" if "key" in unknown else ""
        raise _wrong(f"{where}: unknown members", ", ".join(sorted(unknown)), ", ".join(_TYPES) + hint)
    if missing := [name for name in _NEEDED if not entry.get(name)]:
        raise _wrong(f"{where}: members are missing", ", ".join(missing), ", ".join(_NEEDED))
    for name, value in entry.items():
        kinds = _TYPES[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _wrong(f"{where}: {name} has the wrong type", value, _WORDS[kinds[0]])
        if isinstance(value, (int, float)) and not 0 <= value < math.inf:
            raise _wrong(f"{where}: {name} is out of range", value, "0 or more")
    if entry["name"] == AUTO:
        raise _wrong(f"{where}: the name stands for any model", AUTO, "another name")


def _key(entry: Mapping[str, Any], environment: Mapping[str, str], where: str) -> str:
    variable = entry.get("key_env")
    if variable is None:
        return ""
    key = environment.get(variable, "").strip()
    if not key:
        raise _wrong(f"{where}: its key is missing", f"no variable {variable}", "set it, or leave key_env out")
    if not (key.isascii() and key.isprintable()):
        raise _wrong(f"{where}: its key has characters that no header carries", f"the variable {variable}")
    return key


def _check_url(entry: Mapping[str, Any], where: str, *, has_key: bool) -> None:
    """Refuse addresses that can't be one, and keys that would go through a network unencrypted."""
    url = entry["base_url"]
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc:
        raise _wrong(f"{where}: base_url is no address of an API", url[:80], "https://host[:port]/path")
    if has_key and parts.scheme == "http" and not _is_loopback(host) and not entry.get("plain_http"):
        raise _wrong(
            f"{where}: its key would cross the network unencrypted", f"http://{host}{f':{port}' if port else ''}",
            'https, or "plain_http": true for a network that you trust',
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _options(entry: Mapping[str, Any], kind: Provider, where: str) -> dict[str, str]:
    given = entry.get("options", {})
    if unknown := set(given) - set(kind.options):
        allowed = ", ".join(kind.options) or "none"
        raise _wrong(f"{where}: unknown options of {entry['kind']}", ", ".join(sorted(unknown)), allowed)
    if not all(isinstance(value, str) for value in given.values()):
        raise _wrong(f"{where}: options must be texts", given)
    for name, value in given.items():
        if len(values := kind.options[name]) > 1 and value not in values:
            raise _wrong(f"{where}: the option {name} is not usable", value, ", ".join(values))
    return {**{name: values[0] for name, values in kind.options.items()}, **given}


def _texts(entry: Mapping[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    if name not in entry:
        return None
    if not all(isinstance(value, str) and value for value in entry[name]):
        raise _wrong(f"{where}: {name} must be a list of texts", entry[name])
    return tuple(entry[name])


def _wrong(what: str, got: object, allowed: object = None) -> OptionError:
    return OptionError(f"the providers file: {what}", got=got, allowed=allowed, code="bad_providers_file")
