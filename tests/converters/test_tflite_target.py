"""The TFLite target on tiny real networks: every file is run by the LiteRT engine."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_ins import mask_component, seeded, text_component
from torch import nn

from converters.component import convert_component
from converters.parity import measure, reference_outputs
from converters.recipe import load_recipe
from converters.source import FixedForm
from converters.targets.tflite import TARGET, signature_name
from edge_runtime.errors import ConversionError, EngineError

pytestmark = pytest.mark.slow
SIZES = ({"tokens": 16}, {"tokens": 64})


class Odd(nn.Module):
    """Has a layer whose operation TFLite lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Spectrum()

    def forward(self, image):
        return self.inner(image.permute(0, 3, 1, 2)[:, :1].float())


class Spectrum(nn.Module):
    """A Fourier transform."""

    def forward(self, plane):
        return torch.fft.rfft2(plane).abs()[..., :1].expand(-1, -1, -1, plane.shape[-1])


def padded_text(**changes):
    """TinyText as it is, but that padding must not win its maximum: the stand-in has no mask."""
    return text_component(fixed=FixedForm(sizes=SIZES), examples=tuple(full(size) for size in (16, 64)), **changes)


def full(size):
    return {"tokens": np.random.default_rng(size).integers(1, 256, (1, size), np.int32)}


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    for component in (mask_component(), padded_text()):
        TARGET.export(component, folder / f"{component.name}.tflite")
    return folder


@pytest.mark.parametrize("make", [mask_component, padded_text])
@pytest.mark.parametrize(("recipe", "precision"), [("int8", "int8"), ("int4", None)])
def test_float_and_integers_compute_what_torch_computes(floats, tmp_path, make, recipe, precision):
    component = make()
    file = floats / f"{component.name}.tflite"
    references = reference_outputs(component)
    measure(component, references, TARGET.runners(component, file), "fp32").require()
    written = TARGET.quantise(component, load_recipe(recipe).without_rows(), file, tmp_path / "small.tflite")
    assert written.precision == (precision or {"vision": "int8", "text": "int4-int8"}[component.name])
    measure(component, references, TARGET.runners(component, tmp_path / "small.tflite"), written.precision).require()
    assert (tmp_path / "small.tflite").stat().st_size < 0.5 * file.stat().st_size


def test_sizes_share_their_weights(floats):
    parameters = sum(value.numel() for value in padded_text().module().parameters())
    assert (floats / "text.tflite").stat().st_size < 1.5 * 4 * parameters


def test_what_the_layers_take_is_counted(floats, tmp_path):
    recipe = load_recipe("int4").without_rows()
    written = TARGET.quantise(padded_text(), recipe, floats / "text.tflite", tmp_path / "small.tflite")
    parameters, size = written.layers["int4"]
    assert parameters == 64 * 64 + 64 * 8
    assert size == parameters // 2 + 2 * parameters // 32  # codes, and a float16 for each block


def test_same_weights_same_bytes(floats, tmp_path):
    for component in (mask_component(), padded_text()):
        TARGET.export(component, tmp_path / "again.tflite")
        first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in
                         (floats / f"{component.name}.tflite", tmp_path / "again.tflite"))
        assert first == second


def test_nothing_about_the_machine_gets_into_the_file(floats):
    for name in ("vision", "text"):
        content = (floats / f"{name}.tflite").read_bytes()
        assert b"/home" not in content and b".py" not in content and b"site-packages" not in content


def test_larger_inputs_than_any_size(floats):
    component = padded_text()
    run = TARGET.runners(component, floats / "text.tflite")[0]
    with pytest.raises(EngineError, match="tokens 65"):
        run({"tokens": np.ones((1, 65), np.int32)})


def test_layers_that_stay_in_float(floats, tmp_path):
    component = mask_component(exclude=("*",))
    assert TARGET.quantise(component, load_recipe("int8"), floats / "vision.tflite", tmp_path / "x").precision == "fp32"


def test_a_whole_conversion_says_what_differs_from_the_plan(tmp_path):
    form = FixedForm(sizes=SIZES[:1])
    narrow = text_component(lambda: seeded(Narrow), fixed=form, examples=(full(16),), outputs=(NARROW,))
    converted = convert_component(narrow, TARGET, load_recipe("int4").without_rows(), tmp_path, lambda line: None)
    assert "hidden.weight: 4 bits by channel" in converted.note
    assert converted.quality()["int4_parameters"] == 40 * 8


class Narrow(nn.Module):
    """A matrix whose inputs are no multiple of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = nn.Embedding(256, 40)
        self.hidden = nn.Linear(40, 8)

    def forward(self, tokens):
        return self.hidden(self.bytes(tokens))


NARROW = replace(text_component().outputs[1], name="each")


def test_layers_whose_inputs_stay_float_are_as_small_and_nearer(floats, tmp_path):
    found = []
    for patterns in ((), ("*",)):
        component = mask_component(float_inputs=patterns)
        file = tmp_path / f"{len(patterns)}.tflite"
        written = TARGET.quantise(component, load_recipe("int8"), floats / "vision.tflite", file)
        parity = measure(component, reference_outputs(component), TARGET.runners(component, file), written.precision)
        assert ("float activations" in written.note) == bool(patterns)
        found.append((parity.figures[0].value, written.layers, file.stat().st_size))
    (rounded_db, layers, size), (float_db, same_layers, same_size) = found
    assert float_db > rounded_db + 1 and layers == same_layers
    assert abs(same_size - size) < 0.1 * size


def test_sizes_that_nobody_names(tmp_path):
    with pytest.raises(ConversionError, match="tokens"):
        TARGET.export(text_component(), tmp_path / "text.tflite")


def test_an_operation_that_tflite_lacks_names_the_layer(tmp_path):
    component = mask_component(lambda: seeded(Odd))
    with pytest.raises(ConversionError) as caught:
        TARGET.export(component, tmp_path / "odd.tflite")
    assert "inner" in str(caught.value) and "fft" in str(caught.value)


def test_signatures_are_named_by_their_sizes():
    assert signature_name({"height": 512, "width": 256}) == "height_512_width_256"
    assert signature_name({}) == "fixed"
