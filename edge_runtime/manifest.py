"""What an artifact says about itself: the manifest and its components, as values. No file is touched here.

docs/artifact-format.md is the specification; a change here is a change there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from edge_runtime import canonical_json
from edge_runtime.canonical_json import CONTROL_CHARACTER, MAX_INTEGER, members
from edge_runtime.errors import ArtifactError
from edge_runtime.tensors import TensorSpec

FORMAT_VERSION: Final = 2
MANIFEST_FILE: Final = "manifest.json"
MAX_COMPONENTS: Final = 64
MAX_DATA_FILES: Final = 16
MAX_TENSORS: Final = 256
MAX_FILE_CHARACTERS: Final = 200
MAX_NOTE_CHARACTERS: Final = 500

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
# On Windows these names are devices in every folder and with every ending; a final dot is dropped there.
_WINDOWS_DEVICE: Final = re.compile(r"(^|/)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|/|$)|\.(/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file that belongs to a component: what ONNX calls external data, or the rest of a Core ML package.

    `file` is relative to the artifact's folder, `sha256` and `bytes` as a component's. Raises ArtifactError.
    """

    file: str
    sha256: str = ""
    bytes: int = 0

    def __post_init__(self) -> None:
        _check_file(self.file)
        _check_measurement(self, self.file)

    @property
    def name(self) -> str:
        """Return the file's plain name, by which its graph calls it."""
        return self.file.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """Return every member."""
        return {member: getattr(self, member) for member in _DATA_MEMBERS}

    @classmethod
    def from_json(cls, data: object, where: str) -> DataFile:
        """Read what `to_json` writes; raises ArtifactError that says where the fault is."""
        return cls(**members(data, _DATA_MEMBERS, where))


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One file of an artifact, most often one graph, and the files that belong to it, such as its tensors.

    `file` is relative to the artifact's folder. `sha256` (64 hex digits) and `bytes` are those of `file` alone and stay
    empty until `write_artifact` measures the files. `data` lie in the folder of `file` or below it. `note` is for
    people, for instance why a graph stayed float. A tokenizer has no inputs and no outputs. Raises ArtifactError for a
    description that is not usable.
    """

    name: str
    file: str
    precision: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    note: str = ""
    sha256: str = ""
    bytes: int = 0
    data: tuple[DataFile, ...] = ()

    def __post_init__(self) -> None:
        _check_slug(self.name, "a component's name")
        _check_slug(self.precision, f"the precision of {self.name}")
        _check_file(self.file)
        for specs in (self.inputs, self.outputs):
            if len(specs) > MAX_TENSORS:
                raise ArtifactError(f"component {self.name} has too many tensors", got=len(specs), allowed=MAX_TENSORS)
            _check_unique([spec.name for spec in specs], f"tensors of {self.name}")
        if len(self.note) > MAX_NOTE_CHARACTERS or CONTROL_CHARACTER.search(self.note):
            raise ArtifactError(
                f"the note of {self.name} is not usable",
                got=ascii(self.note),
                allowed=f"at most {MAX_NOTE_CHARACTERS} characters, no control characters",
            )
        _check_measurement(self, self.name)
        self._check_data()

    @property
    def measured(self) -> bool:
        """Tell whether the digests and the sizes of all its files are filled in."""
        return all(map(_is_measured, self.files))

    @property
    def files(self) -> tuple[Component | DataFile, ...]:
        """Return what has a `file`, a digest and a size: the component itself and its data files."""
        return (self, *self.data)

    @property
    def total_bytes(self) -> int:
        """Return the size of the file and its data files together."""
        return sum(part.bytes for part in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return every member, tensors and data files as objects."""
        lists = {side: [entry.to_json() for entry in getattr(self, side)] for side in ("inputs", "outputs", "data")}
        return {**{member: getattr(self, member) for member in _COMPONENT_MEMBERS}, **lists}

    @classmethod
    def from_json(cls, data: object, where: str) -> Component:
        """Read what `to_json` writes; raises ArtifactError that says where the fault is."""
        entry = members(data, _COMPONENT_MEMBERS, where)
        for side in ("inputs", "outputs"):
            entry[side] = tuple(
                TensorSpec.from_json(spec, f"{where}.{side}[{index}]") for index, spec in enumerate(entry[side])
            )
        if len(entry["data"]) > MAX_DATA_FILES:
            raise ArtifactError(f"{where}.data has too many files", got=len(entry["data"]), allowed=MAX_DATA_FILES)
        entry["data"] = tuple(
            DataFile.from_json(part, f"{where}.data[{index}]") for index, part in enumerate(entry["data"])
        )
        component = cls(**entry)
        _check_measured(component)
        return component

    def _check_data(self) -> None:
        if len(self.data) > MAX_DATA_FILES:
            raise ArtifactError(
                f"component {self.name} has too many data files", got=len(self.data), allowed=MAX_DATA_FILES
            )
        folder = self.file[: self.file.rfind("/") + 1]
        for part in self.data:
            if not part.file.startswith(folder):
                raise ArtifactError(
                    f"a data file of {self.name} is not in the folder of its graph",
                    got=part.file,
                    allowed=f"the folder of {self.file}, and below it",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact is, and its components. Raises ArtifactError for a manifest that is not usable.

    `family` names the code that runs it, `name` the model, `target` the graphs' file format, `recipe` how they were
    made small. `settings` belong to the family (vocabulary, limits, thresholds), `provenance` says where the weights
    come from (source, licence, tool versions, checkpoint digest), `quality` is the parity report of the conversion.
    The three are copied on construction and must be JSON; nobody writes to them afterwards.
    """

    family: str
    name: str
    target: str
    recipe: str
    components: tuple[Component, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_version(self.format_version)
        for member in ("family", "name", "target", "recipe"):
            _check_slug(getattr(self, member), f"the manifest's {member}")
        for member in ("settings", "provenance", "quality"):
            object.__setattr__(self, member, canonical_json.plain(getattr(self, member), member, depth=2))
        if not 1 <= len(self.components) <= MAX_COMPONENTS:
            raise ArtifactError(
                "the number of components is not usable", got=len(self.components), allowed=f"1 to {MAX_COMPONENTS}"
            )
        _check_unique([component.name for component in self.components], "components")
        # Without regard to case: Windows and macOS would take two such files for one.
        _check_unique([MANIFEST_FILE, *(part.file.lower() for part in self.files)], "files")

    @property
    def files(self) -> tuple[Component | DataFile, ...]:
        """Return the files of all components, data files behind their graph."""
        return tuple(part for component in self.components for part in component.files)

    @property
    def total_bytes(self) -> int:
        """Return the size of all files but the manifest's own."""
        return sum(part.bytes for part in self.files)

    def component(self, name: str) -> Component:
        """Return the component of that name; raises ArtifactError when there is none."""
        for component in self.components:
            if component.name == name:
                return component
        known = ", ".join(component.name for component in self.components)
        raise ArtifactError("the artifact has no such component", got=name, allowed=known)

    def encode(self) -> bytes:
        """Return the bytes of manifest.json: equal manifests give equal bytes. Raises ArtifactError if unmeasured."""
        for component in self.components:
            _check_measured(component)
        data = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return canonical_json.encode({**data, "components": [part.to_json() for part in self.components]})

    @classmethod
    def decode(cls, encoded: bytes) -> Manifest:
        """Read the bytes of manifest.json; raises ArtifactError that says what is wrong and where."""
        data = canonical_json.decode(encoded)
        if isinstance(data, dict):  # first, because the members of another version are not known
            _check_version(data.get("format_version"))
        entry = members(data, _MANIFEST_MEMBERS, "the manifest")
        if len(entry["components"]) > MAX_COMPONENTS:
            raise ArtifactError("too many components", got=len(entry["components"]), allowed=MAX_COMPONENTS)
        parts = (
            Component.from_json(part, f"the manifest's components[{index}]")
            for index, part in enumerate(entry["components"])
        )
        return cls(**{**entry, "components": tuple(parts)})


_COMPONENT_MEMBERS: Final[Mapping[str, type]] = {
    "name": str, "file": str, "sha256": str, "bytes": int, "precision": str, "inputs": list, "outputs": list,
    "note": str, "data": list,
}  # fmt: skip
_DATA_MEMBERS: Final[Mapping[str, type]] = {"file": str, "sha256": str, "bytes": int}
_MANIFEST_MEMBERS: Final[Mapping[str, type]] = {
    "format_version": int, "family": str, "name": str, "target": str, "recipe": str, "components": list,
    "settings": dict, "provenance": dict, "quality": dict,
}  # fmt: skip


def _check_version(version: object) -> None:
    if type(version) is not int or version != FORMAT_VERSION:
        raise ArtifactError(
            "the artifact's format version is not read by this nanoedge",
            got=ascii(version),
            allowed=FORMAT_VERSION,
            hint="update nanoedge, or convert the model again with this version",
        )


def _check_slug(text: object, what: str) -> None:
    if not isinstance(text, str) or not _SLUG.fullmatch(text):
        raise ArtifactError(f"{what} is not usable", got=ascii(text), allowed=_SLUG.pattern)


def _check_file(file: object) -> None:
    usable = isinstance(file, str) and len(file) <= MAX_FILE_CHARACTERS and _FILE.fullmatch(file)
    if not usable or _WINDOWS_DEVICE.search(str(file)):
        raise ArtifactError(
            "a component's file is not usable",
            got=ascii(file),
            allowed="a relative path such as graphs/vision.onnx: letters, digits, '.', '_', '-', '/'; no part starts "
            f"or ends with a dot or is a Windows device; at most {MAX_FILE_CHARACTERS} characters",
        )


def _check_unique(names: list[str], what: str) -> None:
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ArtifactError(f"two {what} have the same name", got=", ".join(sorted(repeated)))


def _is_measured(part: Component | DataFile) -> bool:
    return part.sha256 != "" or part.bytes != 0


def _check_measurement(part: Component | DataFile, what: str) -> None:
    if _is_measured(part) and not (_DIGEST.fullmatch(part.sha256) and 0 < part.bytes <= MAX_INTEGER):
        raise ArtifactError(
            f"the digest or the size of {what} is not usable",
            got=f"sha256 {part.sha256!r}, {part.bytes} bytes",
            allowed=f"64 lower-case hex digits, 1 to {MAX_INTEGER} bytes",
        )


def _check_measured(component: Component) -> None:
    if not component.measured:
        raise ArtifactError(f"component {component.name} has no digest", hint="write_artifact fills it in")
