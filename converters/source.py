"""What a model to convert looks like: its components, each with the inputs to trace, calibrate and compare it with.

The seam between `sources/` (which know models) and `targets/` (which know file formats). No file format here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from converters.calibration import CalibrationData
from edge_runtime.tensors import Tensor, TensorSpec

if TYPE_CHECKING:
    import torch

    from converters.folder import PipelineFolder
    from converters.lora import Lora

Arrays = Mapping[str, Tensor]
"""Input or output name -> array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A figure of merit that only the source can compute, such as "same plan": 0..1 for one example's outputs.

    `name` is a row of `parity.LIMITS`; `compare` gets torch's outputs and the converted component's outputs.
    """

    name: str
    compare: Callable[[Arrays, Arrays], float]


Working = Callable[[int, int], Mapping[str, int]]
"""Width and height of a result in pixels -> the sizes of a component's symbols in such an edit."""

Rows = Callable[[int, int], NDArray[Any]]
"""First row, row behind the last -> those rows of a tensor, which the caller owns."""


class Weights(Protocol):
    """The tensors of a large component, read one at a time; named as in its module's state dict."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the checkpoint's files."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; raises ConversionError for an unknown name."""

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor that the caller owns: float32, or its own dtype for integers and booleans.

        Raises ConversionError when it holds NaN or infinity or its file is damaged.
        """

    def rows(self, name: str) -> Rows:
        """Return a reader of a tensor's rows: large ones are never held whole. Raises, now or then, as `read` does."""


@dataclass(slots=True)
class Range:
    """Smallest and largest value that went into a convolution and came out of it; 0 is always inside."""

    input_low: float = 0.0
    input_high: float = 0.0
    output_low: float = 0.0
    output_high: float = 0.0


class Streamable(Protocol):
    """What has values for a captured graph, as ComponentSource has and any other graph may have."""

    @property
    def name(self) -> str:
        """Of the files that are written."""

    @property
    def weights(self) -> Weights | None:
        """The tensors of a file."""

    @property
    def constants(self) -> Mapping[str, NDArray[Any]]:
        """Values that no file has."""

    @property
    def exclude(self) -> tuple[str, ...]:
        """Shell patterns of names that stay in float."""

    @property
    def even_rows(self) -> tuple[str, ...]:
        """Shell patterns of matrices whose inputs have rows of about one scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedForm:
    """How a component is written in formats whose graphs have fixed shapes.

    `sizes` has one entry for every size that is written: the size of each symbol in the specs. Inputs that are smaller
    are filled up (edge_runtime/fitting.py). Where the result depends on the real size, `module` builds another module,
    which takes that of the symbols `told` behind the component's inputs, each as float32 (1,).
    """

    sizes: tuple[Mapping[str, int], ...] = (MappingProxyType({}),)
    module: Callable[[], torch.nn.Module] | None = None
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSource:
    """One graph of a model.

    `module` builds the torch module in evaluation mode; it is called when the component's turn comes, so that one
    component's weights are in memory at a time. Its `forward` takes the inputs in order and returns the outputs in
    order. With `weights` the module is built without values (on the meta device or under fake tensors) and the
    weights are streamed; they must cover the state dict except for `constants`, values by state-dict name that no
    checkpoint holds. `dimensions` gives smallest and largest value of every symbol in the specs. `examples` are
    fixed inputs: the first is traced (no symbol may be 1 there), all are compared. `calibration` yields other
    inputs of the real kind, and `hard` extreme ones, which 8-bit ranges may cut but not ruin: with them ranges are
    searched. `thresholded` names outputs that jump where another value crosses a threshold: their decibels are
    reported but not limited, an agreement judges them. `float_note`, if not empty, says why the component is never
    quantised; `exclude` holds shell patterns of layer names that stay in float, `faster_in_float` of those that do
    so in 8 bits because float is faster at their size: fewer bits are worth it for their bytes; `float_inputs` of
    those whose activations stay float in a format that would round each run's over its own range; `even_rows` of
    matrices whose inputs are normed row by row, without outliers, so that one step of 8 bits fits all rows.
    `least_snr_db` takes the place of parity's limits, by precision. `working` gives the symbols' sizes in an edit of
    one picture, uncut, with as long a text as is likely; None for what is no part of a painting model. `fixed` is
    needed only by formats with fixed shapes, and there by components with symbols. `pinned` returns the component for
    results of one width and height in pixels, for phones; None for one that stays ONNX.
    """

    name: str
    module: Callable[[], torch.nn.Module]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    examples: tuple[Arrays, ...]
    dimensions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    calibration: Callable[[], Iterable[Arrays]] = tuple
    hard: Callable[[], Iterable[Arrays]] = tuple
    agreements: tuple[Agreement, ...] = ()
    thresholded: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    faster_in_float: tuple[str, ...] = ()
    float_inputs: tuple[str, ...] = ()
    even_rows: tuple[str, ...] = ()
    least_snr_db: Mapping[str, float] = field(default_factory=dict)
    float_note: str = ""
    weights: Weights | None = None
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    working: Working | None = None
    fixed: FixedForm | None = None
    pinned: Callable[[int, int], ComponentSource] | None = None

    def at_sizes(self, sizes: Mapping[str, int], examples: Iterable[Arrays]) -> ComponentSource:
        """Return the component with sizes in the place of some of its symbols; the examples must have them."""

        def with_sizes(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            shapes = (tuple(sizes.get(str(size), size) for size in spec.shape) for spec in specs)
            return tuple(replace(spec, shape=shape) for spec, shape in zip(specs, shapes, strict=True))

        return replace(
            self,
            inputs=with_sizes(self.inputs),
            outputs=with_sizes(self.outputs),
            examples=tuple(examples),
            dimensions={symbol: span for symbol, span in self.dimensions.items() if symbol not in sizes},
            working=None,
            pinned=None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checkpoint, opened: everything that goes into the artifact apart from graphs and figures.

    `files` are components that are no graphs, such as `tokenizer`: name -> content of NAME.json.
    """

    family: str
    name: str
    components: tuple[ComponentSource, ...]
    settings: Mapping[str, Any]
    provenance: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)


class Source(Protocol):
    """One model that can be converted; a file in `sources/` exposes one as `SOURCE`."""

    @property
    def default_checkpoint(self) -> Path | None:
        """The checkpoint inside the repository, if there is one."""

    def open(self, checkpoint: Path, data: CalibrationData) -> Model:
        """Read a checkpoint; raises ConversionError when it doesn't fit."""


class Pipeline(Protocol):
    """A family of large editing models in diffusers layout; a file in `pipelines/` exposes one as `PIPELINE`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `_class_name` in model_index.json that it converts."""

    def open(self, folder: PipelineFolder, loras: Sequence[Lora], data: CalibrationData) -> Model:
        """Describe every component, reading configurations alone; raises ConversionError when something doesn't fit."""


def run_module(module: torch.nn.Module, component: ComponentSource, inputs: Arrays) -> dict[str, Tensor]:
    """Run the torch module on one example; output name -> array."""
    import torch

    with torch.inference_mode():
        outputs = module(*(torch.from_numpy(inputs[spec.name].copy()) for spec in component.inputs))
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return {spec.name: tensor.numpy() for spec, tensor in zip(component.outputs, outputs, strict=True)}
