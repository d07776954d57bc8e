"""Recipes: how small to make a model, as data in `recipes/*.json`, checked on reading. Independent of the target.

A recipe names layer kinds, not operators of a file format: every target maps `convolution` and `matmul` to its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from edge_runtime.errors import ConversionError, OptionError

FOLDER = Path(__file__).with_name("recipes")


class Layer(str, Enum):
    """Kinds of layers that have weights worth shrinking."""

    CONVOLUTION = "convolution"
    MATMUL = "matmul"
    EMBEDDING = "embedding"


class Between(str, Enum):
    """Operations without weights that may stay in 8 bits between two quantised layers."""

    ADD = "add"
    RELU = "relu"


class Granularity(str, Enum):
    """What shares one scale: the whole tensor, an output channel, or a block of `group_size` inputs."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    BLOCK = "block"


class Format(str, Enum):
    """What a code stands for: a multiple of the scale, one of the 16 levels of NF4 (converters/nf4.py), the upper half
    of a float32, half precision, or an entry in a table of values of its own.
    """

    INTEGER = "integer"
    NF4 = "nf4"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    PALETTE = "palette"


STREAMED = (Format.INTEGER, Format.NF4, Format.BFLOAT16)
"""What converters/streaming.py writes."""

_PRECISIONS = {Format.NF4: "nf4", Format.BFLOAT16: "bf16", Format.FLOAT16: "fp16"}
_INTEGERS_ONLY = ("reduced_range", "searched", "rank", "zero_points", "positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightScheme:
    """Signed symmetric integers, or NF4, or half a float32.

    `reduced_range` leaves one bit unused: without VNNI, x86 adds two 8x8-bit products in 16 bits and saturates, which
    7-bit weights can't (measured on masks of cats: IoU 0.58 instead of 0.68). 4-bit blocks with zero points have it of
    the 8 bits that their codes become: scales of two levels. `searched`: of some scales around the
    largest magnitude's, each group takes the one with the smallest squared error. `zero_points`: codes are unsigned and
    every group has a zero point of its own, which pays where a group's values lie to one side. `rank`: a float product
    of two thin matrices of this rank beside the integers takes up what rounding loses (converters/low_rank.py); 0 is
    none. `positive`: no scale is negative, which some runtimes refuse; else the sign may give the one code more that
    integers have below zero to the side that needs it. Blocks of NF4 go over the flattened (outputs, inputs), those of
    integers along the inputs; a table of a palette serves `group_size` outputs with all their inputs.
    """

    bits: int
    granularity: Granularity
    group_size: int | None = None
    reduced_range: bool = False
    searched: bool = False
    format: Format = Format.INTEGER
    rank: int = 0
    zero_points: bool = False
    positive: bool = False

    def __post_init__(self) -> None:
        allowed = {Format.BFLOAT16: (16,), Format.FLOAT16: (16,), Format.PALETTE: (4,)}.get(self.format, (4, 8))
        if self.bits not in allowed:
            raise ConversionError("weights of this many bits are not written", got=self.bits, allowed=allowed)
        if (self.granularity is Granularity.BLOCK) != (self.group_size is not None):
            raise ConversionError("group_size belongs to granularity 'block'", got=self.group_size)
        if self.group_size is not None and (self.group_size < 16 or self.group_size & (self.group_size - 1)):
            raise ConversionError("group_size is not usable", got=self.group_size, allowed="16, 32, 64, 128 ...")
        if not isinstance(self.rank, int) or self.rank < 0:
            raise ConversionError("rank is not usable", got=self.rank, allowed="0 (no low-rank path) or more")
        if self.format is Format.NF4:
            self._check_nf4()

    @property
    def two_level(self) -> bool:
        """Return whether blocks have whole numbers of an output's step as their scales (converters/two_level.py)."""
        blocks = self.bits == 4 and self.granularity is Granularity.BLOCK and self.format is Format.INTEGER
        return blocks and self.zero_points and self.reduced_range and not self.searched and not self.rank

    @property
    def precision(self) -> str:
        """Return what artifacts call it: `int8`, `int4`, `nf4`, `bf16`, `fp16`; `int4` for palettes too."""
        return _PRECISIONS.get(self.format, f"int{self.bits}")

    def _check_nf4(self) -> None:
        if self.bits != 4 or self.granularity is not Granularity.BLOCK:
            raise ConversionError(
                "NF4 weights have 4 bits, in blocks",
                got=f"{self.bits} bits by {self.granularity.value}",
                allowed="bits 4, granularity block",
            )
        if integers_only := [name for name in _INTEGERS_ONLY if getattr(self, name)]:
            raise ConversionError("this belongs to format 'integer', not to NF4", got=", ".join(integers_only))


class Span(str, Enum):
    """Where the range of activations comes from: measured at conversion, or every row's own largest magnitude."""

    CALIBRATED = "calibrated"
    ROW = "row"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationScheme:
    """Integers over a range that is fixed at conversion, or taken from each row (a token, a pixel) as it comes.

    Rows need no calibration, and a token with outliers, as large language models have, coarsens no other.
    """

    bits: int
    signed: bool
    span: Span = Span.CALIBRATED

    def __post_init__(self) -> None:
        if self.bits != 8:
            raise ConversionError("activations of this many bits are not written", got=self.bits, allowed="8")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScheme:
    """How one kind of layer is quantised; `activations` None means weights alone.

    `in_float` are the weights where nothing rounds activations by row, if they are not the same: in other formats, and
    in ONNX where that loses too much.
    """

    weights: WeightScheme
    activations: ActivationScheme | None = None
    in_float: WeightScheme | None = None

    def __post_init__(self) -> None:
        if self.by_rows and not (_is_plain(self.weights) or self.weights.two_level):
            raise ConversionError(
                "activations rounded by row need plain weights", got=self.weights.precision,
                allowed="8-bit integers by channel, without zero points and rank; or 4-bit integers in blocks, with "
                "zero points and reduced_range, not searched",
            )  # fmt: skip
        if self.in_float is not None and not self.by_rows:
            raise ConversionError("'in_float' belongs to activations rounded by row", hint="say it in 'weights'")
        if self.weights.two_level and (self.in_float is None or self.in_float.two_level):
            raise ConversionError(
                "blocks with zero points and reduced_range need activations rounded by row, and weights 'in_float'"
            )

    @property
    def calibrated(self) -> bool:
        """Return whether ranges of activations are measured at conversion."""
        return self.activations is not None and self.activations.span is Span.CALIBRATED

    @property
    def by_rows(self) -> bool:
        """Return whether activations are rounded row by row as they come."""
        return self.activations is not None and self.activations.span is Span.ROW


def _is_plain(weights: WeightScheme) -> bool:
    whole = weights.bits == 8 and weights.granularity is Granularity.CHANNEL and weights.format is Format.INTEGER
    return whole and not weights.rank and not weights.zero_points


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationNeed:
    """How many inputs activation ranges are measured on: from the smallest to the largest value seen.

    `searched`: from there, in components that have hard samples, each is made narrower or wider while the component's
    results come nearer to those in float (ONNX alone: other targets' quantisers set their ranges themselves).
    `compensated`: in the same components, weights of convolutions are rounded so that one makes good the error of
    another (ONNX alone, converters/weight_rounding.py).
    """

    samples: int
    searched: bool = False
    compensated: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConversionError("calibration needs samples", got=self.samples, allowed="1 or more")

    @property
    def wants_hard(self) -> bool:
        """Return whether hard samples are of use."""
        return self.searched or self.compensated


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`exclude` holds shell patterns of layer names that stay in float."""

    name: str
    description: str
    layers: Mapping[Layer, LayerScheme] = field(default_factory=dict)
    between: tuple[Between, ...] = ()
    exclude: tuple[str, ...] = ()
    calibration: CalibrationNeed | None = None

    def __post_init__(self) -> None:
        if self.calibration is None and any(scheme.calibrated for scheme in self.layers.values()):
            raise ConversionError(f"recipe {self.name} quantises activations and needs a member 'calibration'")

    def require(self, known: Iterable[Format], where: str) -> None:
        """Raise ConversionError, naming the layers, for a format of weights that `where` has not."""
        known = tuple(known)
        for layer, scheme in self.layers.items():
            if scheme.weights.format not in known:
                raise ConversionError(
                    f"recipe {self.name}: {where} has no form for the weights of layers of kind {layer.value}",
                    got=f"format {scheme.weights.format.value}",
                    allowed=", ".join(format.value for format in known),
                    hint="take another recipe, or another target with --to: docs/recipes.md has a table",
                )

    @property
    def by_rows(self) -> bool:
        """Return whether some layers round their activations row by row."""
        return any(scheme.by_rows for scheme in self.layers.values())

    def without_rows(self) -> Recipe:
        """Return the recipe with such layers computing in float; their weights keep their bits and use them all."""
        layers = {
            layer: LayerScheme(weights=scheme.in_float or replace(scheme.weights, reduced_range=False))
            if scheme.by_rows
            else scheme
            for layer, scheme in self.layers.items()
        }
        return replace(self, layers=layers)

    @property
    def fewest_bits(self) -> int:
        """Return the bits of the smallest weights, 32 when everything stays in float."""
        return min((scheme.weights.bits for scheme in self.layers.values()), default=32)

    @classmethod
    def from_json(cls, name: str, data: object) -> Recipe:
        """Check a recipe read from JSON; raises ConversionError that names the member at fault."""
        try:
            return cls(name=name, **_recipe_members(data))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise ConversionError(f"recipe {name} is malformed", got=error, hint="see converters/recipe.py") from error


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that exist, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_recipe(name: str) -> Recipe:
    """Read one recipe; raises OptionError for an unknown name and ConversionError for a malformed file."""
    if name not in recipe_names():
        raise OptionError("unknown recipe", got=name, allowed=", ".join(recipe_names()), param="recipe")
    try:
        data = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"recipe {name} is not JSON", got=error) from error
    return Recipe.from_json(name, data)


def recipe_for(name: str, target: str) -> Recipe:
    """Return a recipe as a target's format can hold it; raises like `load_recipe`.

    ONNX alone has products that round their rows as they come: elsewhere such layers compute in float.
    """
    recipe = load_recipe(name)
    return recipe if target == "onnx" else recipe.without_rows()


def _recipe_members(data: Any) -> dict[str, Any]:
    """Turn JSON into the dataclasses' arguments. Unknown keys fail in the constructors, as TypeError."""
    members = dict(data)
    members["layers"] = {Layer(kind): _layer_scheme(**scheme) for kind, scheme in members.get("layers", {}).items()}
    members["between"] = tuple(Between(name) for name in members.get("between", ()))
    members["exclude"] = tuple(members.get("exclude", ()))
    if (need := members.get("calibration")) is not None:
        members["calibration"] = CalibrationNeed(**need)
    return members


def _layer_scheme(
    *, weights: dict[str, Any], activations: dict[str, Any] | None = None, in_float: dict[str, Any] | None = None
) -> LayerScheme:
    return LayerScheme(
        weights=_weight_scheme(weights),
        activations=None if activations is None else _activation_scheme(**activations),
        in_float=None if in_float is None else _weight_scheme(in_float),
    )


def _weight_scheme(members: dict[str, Any]) -> WeightScheme:
    kinds = {"granularity": Granularity(members["granularity"]), "format": Format(members.get("format", "integer"))}
    return WeightScheme(**{**members, **kinds})


def _activation_scheme(*, span: str = Span.CALIBRATED.value, **members: Any) -> ActivationScheme:
    return ActivationScheme(**members, span=Span(span))
