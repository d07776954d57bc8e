"""Templates are real files: `templates/<platform>/` is copied as it is, with `{{name}}` filled in where it stands.

A template that grows conditions or loops has become a program: compute the text in the platform's module instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge_runtime.errors import NanoedgeError

TEMPLATES: Final = Path(__file__).with_name("templates")
_PLACE: Final = re.compile(r"\{\{([a-z_]+)\}\}")


def copy(template: str, folder: Path, values: Mapping[str, str]) -> None:
    """Copy everything below `templates/<template>` into `folder`, which may have other files.

    `{{name}}` becomes `values["name"]`, in the names of files and folders and in text; files that are not UTF-8 are
    copied byte for byte. Raises NanoedgeError for a name without a value, or a value that no file asks for.
    """
    root, used = TEMPLATES / template, set[str]()

    def filled(text: str) -> str:
        for name in _PLACE.findall(text):
            if name not in values:
                raise NanoedgeError(f"the template {template} asks for a value that is not there", got=name)
            used.add(name)
        return _PLACE.sub(lambda place: values[place[1]], text)

    for source in sorted(path for path in root.rglob("*") if path.is_file()):
        target = folder / filled(source.relative_to(root).as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_content(source, filled))
        target.chmod(source.stat().st_mode & 0o777 | 0o200)
    if unused := values.keys() - used:
        raise NanoedgeError(f"the template {template} doesn't ask for these values", got=", ".join(sorted(unused)))


def _content(source: Path, filled: Callable[[str], str]) -> bytes:
    content = source.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    return filled(text).encode()
