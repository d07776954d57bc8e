"""Writes components as TFLite: one file each, with one signature for every size, which share their weights.

litert-torch makes the float file out of the torch module, ai-edge-quantizer the integers in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch import Tensor, nn

from converters import tflite_graph, tflite_weights
from converters.fused import with_fused_norms
from converters.layer_path import layer_of
from converters.layers import FLOAT, layer_schemes, precision_of
from converters.litert import litert_torch
from converters.quiet import quiet
from converters.recipe import LayerScheme, Recipe, WeightScheme
from converters.source import ComponentSource, FixedForm
from converters.target import Quantised, Runner, Target
from converters.tflite_graph import Use
from converters.tflite_operations import spelled_out
from converters.tflite_weights import Stored
from edge_runtime.engines.litert import ENGINE
from edge_runtime.errors import ConversionError
from edge_runtime.machine import Machine
from edge_runtime.manifest import MAX_NOTE_CHARACTERS, Component
from edge_runtime.tensors import TensorSpec

MOST_NAMED: Final = 3
"""Layers that a note names of those that differ in the same way."""

_OPERATION: Final = re.compile(r"While executing .*?target=(?:torch\.ops\.)?([\w.]+)")
"""What litert-torch says about the node of the traced graph at which it stopped."""


class TFLiteTarget:
    """The TFLite file format (see converters/target.py)."""

    suffix = ".tflite"
    entry = ""
    interpreted = False
    timed = False
    tools = ("torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert")

    def check(self, recipe: Recipe) -> None:
        """Raise ConversionError for a recipe that TFLite has no form for."""
        tflite_weights.check_recipe(recipe)

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Trace the torch module once for every size and write the file in 32-bit float; raises ConversionError."""
        form = component.fixed or FixedForm()
        module = with_fused_norms((form.module or component.module)())
        with TemporaryDirectory() as folder:
            file = Path(folder) / "converted.tflite"
            _convert(component, form, module, file)
            model = tflite_graph.read(file)
        tflite_graph.check_operators(model, component.name)
        tflite_graph.share_buffers(model)
        tflite_graph.name_tensors(model, {name: value.detach().numpy() for name, value in module.named_parameters()})
        tflite_graph.write(model, destination)

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> Quantised:
        """Write the exported file as the recipe wants it; raises ConversionError."""
        self.check(recipe)
        form = component.fixed or FixedForm()
        plan = layer_schemes((form.module or component.module)(), recipe, component.exclude)
        uses = [use for use in tflite_graph.uses(tflite_graph.read(exported)) if use.weight in plan]
        layers = [(use, _stored(use, plan[use.weight], component)) for use in uses]
        written = [(use, found.scheme) for use, found in layers if found.scheme is not None]
        if not written:
            return Quantised(precision=FLOAT)
        content = tflite_weights.quantise(exported, layers)
        destination.write_bytes(content)
        model = tflite_graph.read(destination)
        tflite_weights.clamp_scales(model)
        tflite_graph.write(model, destination)
        return Quantised(
            precision=precision_of(LayerScheme(weights=scheme) for _, scheme in written),
            note=_note({use.weight: found.change for use, found in layers}),
            layers=_layers(model, written),
        )

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open the file as it is served."""
        described = Component(
            name=component.name, file=file.name, precision="any", inputs=component.inputs, outputs=component.outputs
        )
        return (ENGINE.open(file, described, threads=Machine.detect().cores).run,)

    def settings(self, components: tuple[ComponentSource, ...]) -> dict[str, Any]:
        """Return the sizes of every component that has any, for readers that cut pictures into tiles."""
        sizes = {part.name: [dict(entry) for entry in part.fixed.sizes] for part in components if part.fixed}
        return {"fixed_sizes": sizes}


TARGET: Final[Target] = TFLiteTarget()


def _stored(use: Use, scheme: LayerScheme, component: ComponentSource) -> Stored:
    found = tflite_weights.stored(use, scheme)
    exact = any(fnmatchcase(use.weight, pattern) for pattern in component.float_inputs)
    return tflite_weights.with_float_inputs(found) if exact else found


class _Named(nn.Module):
    """Takes and returns tensors by name, as signatures do."""

    def __init__(self, module: nn.Module, component: ComponentSource, told: tuple[str, ...]) -> None:
        super().__init__()
        self.module = _narrowed(module)
        self.order = (*(spec.name for spec in component.inputs), *told)
        self.outputs = tuple(spec.name for spec in component.outputs)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return output name -> tensor."""
        results = self.module(*(inputs[name] for name in self.order))
        return dict(zip(self.outputs, (results,) if isinstance(results, Tensor) else results, strict=True))


def _narrowed(module: nn.Module) -> nn.Module:
    """Return the module with 32-bit integers for its 64-bit ones: litert-torch 0.10 narrows constants itself, frees the
    result too early and writes whatever is in its place.
    """
    for part in module.modules():
        for name, value in part.named_buffers(recurse=False):
            if value.dtype == torch.int64:
                part.register_buffer(name, value.to(torch.int32), persistent=False)
    return module


def signature_name(sizes: Mapping[str, int]) -> str:
    """Return a signature's name, such as `height_512_width_512`; `fixed` where nothing has other sizes."""
    return "_".join(f"{symbol}_{size}" for symbol, size in sizes.items()) or "fixed"


def _convert(component: ComponentSource, form: FixedForm, module: nn.Module, file: Path) -> None:
    symbols = {size for spec in component.inputs for size in spec.shape if isinstance(size, str)}
    converter = litert_torch.Converter()
    named = _Named(module, component, form.told).eval()
    for sizes in form.sizes:
        if sizes.keys() != symbols:
            raise ConversionError(
                f"{component.name}: TFLite has fixed sizes, and the source names none for these",
                got=", ".join(sorted(symbols - sizes.keys())), hint="give ComponentSource.fixed",
            )
        converter.add_signature(signature_name(sizes), named, None, _example(component, form, sizes))
    with quiet(), _silent(), spelled_out():
        try:
            converter.convert().export(str(file))
        except Exception as error:  # noqa: BLE001 - whatever torch.export, MLIR or litert-torch raise
            raise _explained(component, form, named, error) from error


def _example(component: ComponentSource, form: FixedForm, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    tensors = {spec.name: _ones(spec, sizes) for spec in component.inputs}
    return {**tensors, **{symbol: torch.tensor([float(sizes[symbol])]) for symbol in form.told}}


def _ones(spec: TensorSpec, sizes: Mapping[str, int]) -> Tensor:
    if spec.dtype == "int64":
        raise ConversionError(f"TFLite inputs have no 64-bit integers: {spec.name}", got=spec, allowed="int32")
    shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
    return torch.ones(shape, dtype=getattr(torch, spec.dtype))


def _explained(
    component: ComponentSource, form: FixedForm, module: nn.Module, error: Exception
) -> ConversionError:
    """Return one error that names the operation and the layer."""
    stopped = _OPERATION.search(str(error))
    if stopped is None:
        return ConversionError(f"{component.name} can't be converted to TFLite", got=f"{type(error).__name__}: {error}")
    operation = stopped[1]
    program = torch.export.export(module, (), _example(component, form, form.sizes[0])).run_decompositions()
    layer = next((layer_of(node) for node in program.graph.nodes if str(node.target) == operation), "an unknown layer")
    return ConversionError(
        f"{component.name}: TFLite can't express an operation", got=f"{operation}, in {layer}",
        hint="write the layer's forward with other operations, or add one to converters/tflite_operations.py",
    )


def _layers(model: Any, written: Sequence[tuple[Use, WeightScheme]]) -> dict[str, tuple[int, int]]:
    """Return precision -> parameters and bytes of the layers that have it, each counted once."""
    sizes = tflite_graph.weight_bytes(model)
    totals: dict[str, tuple[int, int]] = {}
    for name, (use, scheme) in {use.weight: (use, scheme) for use, scheme in written}.items():
        parameters, size = totals.get(scheme.precision, (0, 0))
        totals[scheme.precision] = (parameters + math.prod(use.shape), size + sizes[name])
    return totals


def _note(changes: Mapping[str, str]) -> str:
    """Return what differs from the plan: `6 layers with 4 bits by channel, as blocks don't fit: told.weight, ...`."""
    lines = []
    for change in sorted(set(changes.values()) - {""}):
        names = sorted(name for name, each in changes.items() if each == change)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        lines.append(f"{', '.join(names[:MOST_NAMED])}{more}: {change}")
    text = "; ".join(lines)
    return text if len(text) <= MAX_NOTE_CHARACTERS // 2 else f"{text[: MAX_NOTE_CHARACTERS // 2]}..."


@contextmanager
def _silent() -> Iterator[None]:
    """Keep litert-torch from printing each of its steps."""
    shown = litert_torch.config.show_progress
    litert_torch.config.show_progress = False
    try:
        yield
    finally:
        litert_torch.config.show_progress = shown
