"""What an artifact is, for people and as JSON, and whether its graphs run here. Works for every family and target.

All comes from the manifest: `verify` makes inputs out of its tensors and holds the outputs to them. How good the
results are is not judged here; the conversion measured that, and the figures are in the manifest.
"""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from edge_runtime.artifact import Artifact
from edge_runtime.canonical_json import CONTROL_CHARACTER
from edge_runtime.diffusion.memory import parts, peak_bytes
from edge_runtime.diffusion.pictures import SizeRule
from edge_runtime.diffusion.settings import Settings
from edge_runtime.engine import Engine, engine_for
from edge_runtime.errors import EngineError, NanoedgeError
from edge_runtime.machine import Machine
from edge_runtime.manifest import Component, Manifest
from edge_runtime.tensors import Tensor, TensorSpec

SYMBOL_SIZES: Final[Mapping[str, int]] = {"regions": 2}
SYMBOL_SIZE: Final = 16
"""Size of every other symbol: graphs with strides want sides that are multiples of it."""

EXAMPLE_SIZES: Final = "example_sizes"
"""Member of a manifest's settings: component -> symbol -> a size that goes with the others, from the conversion."""

MAX_INPUT_BYTES: Final = 1 << 28
"""All inputs of one component together. A manifest can name any size; this keeps it from filling the memory."""

WIDTH: Final = 100
"""Columns of the text for people, where words can be wrapped."""

_UNITS: Final = {"db": "dB", "ms": "ms", "seconds": "s", "bytes": "bytes", "mb": "MB", "pixels": "px", "percent": "%"}
_GLUE: Final = "\N{NO-BREAK SPACE}"  # between words that stay on one line; printed as a space
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What came of one component. `seconds` of opening and one run are None for a file that is no graph."""

    component: str
    problem: str = ""
    remarks: tuple[str, ...] = ()
    seconds: float | None = None

    @property
    def status(self) -> str:
        """Return `ok` or `failed`; a remark is no failure."""
        return "failed" if self.problem else "ok"

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        done = "no graph, only its digest is checked" if self.seconds is None else f"{1000 * self.seconds:.0f} ms"
        return "; ".join([done, *self.remarks])


def verify(artifact: Artifact, progress: Callable[[str], None] = lambda line: None) -> tuple[Check, ...]:
    """Open every graph with the engine of the artifact's target, one after another, and run it once.

    `artifact` was opened, so its digests are right. `progress` gets a line before each component. A component that
    fails is in the result; raises EngineError or MissingExtraError only when no engine here runs the target.
    """
    components = artifact.manifest.components
    engine = engine_for(artifact.manifest.target)
    checks = []
    for number, component in enumerate(components, 1):
        progress(f"{number} of {len(components)}: {component.name}")
        checks.append(_check(artifact, component, engine))
    return tuple(checks)


def require(checks: Sequence[Check]) -> None:
    """Raise EngineError that names the components that failed, if any did."""
    if failed := [check.component for check in checks if check.problem]:
        raise EngineError(
            f"{len(failed)} of {len(checks)} components failed",
            got=", ".join(failed),
            hint="the files are not damaged: convert the model again, or update the engine's library",
        )


def example_sizes(artifact: Artifact, component: Component) -> dict[str, int]:
    """Return the sizes of a component's symbols that the conversion wrote down; others are SYMBOL_SIZE."""
    found = artifact.manifest.settings.get(EXAMPLE_SIZES, {})
    sizes = found.get(component.name, {}) if isinstance(found, dict) else {}
    known = sizes.items() if isinstance(sizes, dict) else ()
    return {name: size for name, size in known if type(size) is int and size > 0}


def example_inputs(component: Component, given: Mapping[str, int] = SYMBOL_SIZES) -> dict[str, Tensor]:
    """Return inputs that are the same every time: pixels 0..255 and floats 0..1 at random, all else 1.

    1 is a token, a position and a length in every model, and lets a mask see everything. A symbol has the same size
    in all inputs. Raises EngineError when they would be larger than MAX_INPUT_BYTES.
    """
    sizes = [math.prod(_shape(spec, given)) * np.dtype(spec.dtype).itemsize for spec in component.inputs]
    if sum(sizes) > MAX_INPUT_BYTES:
        raise EngineError(
            f"the inputs of {component.name} are too large to try",
            got=f"{sum(sizes)} bytes",
            allowed=f"{MAX_INPUT_BYTES} bytes",
        )
    random = np.random.default_rng(0)
    return {spec.name: _example(spec, given, random) for spec in component.inputs}


def to_json(artifact: Artifact) -> dict[str, Any]:
    """Return everything that `described` shows, and the digests. The family's own settings are left out."""
    manifest = artifact.manifest
    return {
        "folder": str(artifact.folder), "version": artifact.version, "name": manifest.name, "family": manifest.family,
        "recipe": manifest.recipe, "target": manifest.target, "provenance": manifest.provenance,
        "components": [component.to_json() for component in manifest.components],
        "bytes": manifest.total_bytes, "peak": peak(manifest), "quality": manifest.quality,
    }


def peak(manifest: Manifest) -> dict[str, int] | None:
    """Return the peak memory of an edit of a large square photo in bytes, with all parts open and with one at a time.

    None for a model that doesn't paint, and for one that was converted before its parts' needs were written down.
    """
    if not parts(manifest.settings):
        return None
    rule = SizeRule.read(Settings(manifest.settings).part("size"))
    width, height = rule.target((rule.largest, rule.largest), None)
    together, alone = (peak_bytes(manifest, width, height, together=kept) for kept in (True, False))
    return {"width": width, "height": height, "together": together, "one_at_a_time": alone}


def checks_to_json(artifact: Artifact, checks: Sequence[Check]) -> dict[str, Any]:
    """Return what `verify` found; `ok` tells whether nothing failed."""
    return {
        "folder": str(artifact.folder), "version": artifact.version, "name": artifact.manifest.name,
        "ok": not any(check.problem for check in checks),
        "components": [{**asdict(check), "status": check.status} for check in checks],
    }


def described(artifact: Artifact) -> str:
    """Return the manifest for people: origin, components with their tensors, what the conversion measured."""
    manifest = artifact.manifest
    head = [("family", manifest.family), ("recipe", manifest.recipe), ("target", manifest.target)]
    head += [(_words(key), _value(value)) for key, value in manifest.provenance.items()]
    rows = [row for component in manifest.components for row in _component_rows(component)]
    total = ("total", "", _megabytes(manifest.total_bytes), f"{len(manifest.files)} files")
    figures = list(_figure_rows(manifest))
    sections = [
        [f"{manifest.name}, version {artifact.version}, in {_clean(str(artifact.folder))}"],
        _aligned(head),
        _aligned([("component", "precision", f"{'MB':>7}", "file"), *rows, total]),
        _aligned(list(_peak_rows(manifest))),
        _aligned([("quality", "output", "measured at conversion"), *figures]) if figures else [],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def checks_described(artifact: Artifact, checks: Sequence[Check]) -> str:
    """Return one line for the files, data files among them, and one a component: `vision  ok  52 ms`."""
    manifest = artifact.manifest
    size = f"{len(manifest.files)} files, {_megabytes(manifest.total_bytes).strip()} MB"
    widest = max(len(check.component) for check in checks)
    return "\n".join([
        f"{manifest.name}, version {artifact.version}: {size}, all sizes and digests as in the manifest",
        *(f"{check.component:<{widest}}  {check.status:<7}  {check}" for check in checks),
    ])


def _check(artifact: Artifact, component: Component, engine: Engine) -> Check:
    if not component.inputs and not component.outputs:
        return Check(component=component.name)
    path, threads = artifact.path(component.name), Machine.detect().cores
    started = time.perf_counter()
    try:
        inputs = example_inputs(component, {**SYMBOL_SIZES, **example_sizes(artifact, component)})
        with engine.open(path, component, threads=threads) as session:
            outputs = session.run(inputs)
        _check_finite(outputs)
    except NanoedgeError as error:
        return Check(component=component.name, problem=_told(error))
    seconds = round(time.perf_counter() - started, 4)
    return Check(component=component.name, remarks=tuple(_constant(outputs)), seconds=seconds)


def _told(error: NanoedgeError) -> str:
    """Return the message as one line; with all of a library's own that it shortens, which ends in what is expected."""
    cause = str(error.__cause__ or "")
    text = str(error) if cause in str(error) else f"{error} In full: {cause}"
    return _clean(" ".join(text.split()))


def _check_finite(outputs: Mapping[str, Tensor]) -> None:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and (count := int((~np.isfinite(array)).sum())):
            raise EngineError(
                f"output {name} is not finite",
                got=f"{count} of {array.size} values are NaN or infinite",
                allowed="finite numbers",
            )


def _constant(outputs: Mapping[str, Tensor]) -> Iterator[str]:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and array.size > 1 and (array == array.flat[0]).all():
            yield f"output {name} is {float(array.flat[0]) + 0.0:g} everywhere, which made-up inputs may rightly give"


def _shape(spec: TensorSpec, given: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(given.get(size, SYMBOL_SIZE) if isinstance(size, str) else size for size in spec.shape)


def _example(spec: TensorSpec, given: Mapping[str, int], random: np.random.Generator) -> Tensor:
    if spec.dtype in ("float16", "float32"):
        return np.asarray(random.random(_shape(spec, given), np.float32)).astype(spec.dtype)
    if spec.dtype == "uint8":
        return np.asarray(random.integers(0, 256, _shape(spec, given), np.uint8))
    return np.ones(_shape(spec, given), spec.dtype)


def _component_rows(component: Component) -> Iterator[Row]:
    yield component.name, component.precision, _megabytes(component.bytes), component.file
    for part in component.data:
        yield "  data", "", _megabytes(part.bytes), part.file
    for side, specs in (("in", component.inputs), ("out", component.outputs)):
        for index, spec in enumerate(specs):
            shape = f"({', '.join(map(str, spec.shape))})"
            yield "" if index else f"  {side}", spec.name, spec.dtype, shape
    if component.note:
        yield "  note", "", "", component.note


def _peak_rows(manifest: Manifest) -> Iterator[Row]:
    found = peak(manifest)
    if found is not None:
        yield "memory", f"{'MB':>7}", f"peak of an edit at {found['width']} x {found['height']} pixels, predicted"
        yield "to spare", f"{found['together'] / 1e6:>7,.0f}", "all parts stay open"
        yield "short", f"{found['one_at_a_time'] / 1e6:>7,.0f}", "one part at a time, each opened anew for every edit"


def _figure_rows(manifest: Manifest) -> Iterator[Row]:
    """Yield (component, output, figures): keys are `output.figure`, or the figure alone when it is of all outputs."""
    precisions = {component.name: component.precision for component in manifest.components}
    for component, figures in manifest.quality.items():
        by_output: dict[str, list[str]] = {"all": []}
        for key, value in figures.items() if isinstance(figures, dict) else [("", figures)]:
            if (key, value) == ("precision", precisions.get(component)):
                continue  # the table of components has it
            output, _, name = key.rpartition(".")
            by_output.setdefault(output or "all", []).append(_figure(name, value))
        for output, found in by_output.items():
            if found:
                yield component, output, ", ".join(found)
                component = ""


def _figure(name: str, value: object) -> str:
    """`snr_db`, 37.06 -> `snr 37.06 dB`."""
    quantity, _, suffix = name.rpartition("_")
    unit = _UNITS.get(suffix, "") if quantity else ""
    return f"{_words(quantity if unit else name)} {_value(value)} {unit}".strip().replace(" ", _GLUE)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}{_GLUE}{_value(item)}" for key, item in value.items())
    return _clean(value if isinstance(value, str) else json.dumps(value))


def _words(key: str) -> str:
    return key.replace("_", " ")


def _clean(text: str) -> str:
    """Spell out control characters: strings of a manifest may hold what commands a terminal."""
    return CONTROL_CHARACTER.sub(lambda character: ascii(character[0])[1:-1], text)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:>7,.3f}"


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Return lines of columns that are as wide as they need; the last one is wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for *cells, last in rows:
        start = "".join(f"{cell:<{width}}  " for cell, width in zip(cells, widths, strict=True))
        wrapped = textwrap.wrap(last, max(30, WIDTH - indent), break_long_words=False, break_on_hyphens=False) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * indent + line for line in wrapped[1:])]
    return [line.replace(_GLUE, " ") for line in lines]
