import numpy as np
import pytest
import torch
from stand_ins import TinyMask, mask_component, seeded, text_component

from converters.component import convert_component
from converters.parity import (
    CEILING_DB,
    LIMITS,
    Figure,
    mask_iou,
    measure,
    peak_signal_to_noise_db,
    reference_outputs,
    signal_to_noise_db,
)
from converters.recipe import load_recipe
from converters.source import Agreement
from converters.targets.onnx import TARGET
from edge_runtime.errors import ConversionError, EngineError


def damaged(scale: float):
    """Build TinyMask with one weight tensor off by `scale` in the first call, that is in the exported graph only."""
    calls = []

    def module():
        net = seeded(TinyMask)
        if not calls:
            noise = torch.randn(net.head.weight.shape, generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                net.head.weight += scale * noise
        calls.append(net)
        return net

    return module


def test_decibels():
    signal = np.array([3.0, 4.0])
    assert signal_to_noise_db(signal, signal) == CEILING_DB
    assert signal_to_noise_db(signal, signal + np.array([0.3, 0.4])) == pytest.approx(20.0)
    assert signal_to_noise_db(np.zeros(2), signal) == -CEILING_DB
    assert np.isnan(signal_to_noise_db(signal, np.array([np.nan, 1.0])))
    picture = np.full((4, 4), 100, np.uint8)
    assert peak_signal_to_noise_db(picture, picture + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_mask_iou():
    first, second = np.zeros((1, 10)), np.zeros((1, 10))
    assert mask_iou(first, second) == 1.0
    first[:, :4], second[:, 2:6] = 1.0, 1.0
    assert mask_iou(first, second) == pytest.approx(2 / 6)


def test_the_float_graph_keeps_its_limits(exported):
    for component in (mask_component(), text_component()):
        runners = TARGET.runners(component, exported / f"{component.name}.onnx")
        parity = measure(component, reference_outputs(component), runners, "fp32")
        parity.require()
        figures = {figure.name for figure in parity.figures}
        assert figures >= {"snr_db", "max_abs_error"}
        assert min(figure.value for figure in parity.figures if figure.name == "snr_db") > 90


def test_the_report_is_finite_json_with_four_digits(exported):
    component = mask_component()
    runners = TARGET.runners(component, exported / "vision.onnx")
    report = measure(component, reference_outputs(component), runners, "fp32").to_json()
    assert set(report) == {"precision", "subject.snr_db", "subject.max_abs_error", "mask_iou"}
    assert report["mask_iou"] == 1.0


def test_the_worst_runner_counts(exported):
    component = mask_component()
    references = reference_outputs(component)
    good = TARGET.runners(component, exported / "vision.onnx")[0]

    def bad(inputs):
        return {name: array * np.float32(0.5) for name, array in good(inputs).items()}

    alone = measure(component, references, [bad], "fp32")
    both = measure(component, references, [good, bad], "fp32")
    assert both == alone
    assert both.failure is not None


def test_an_output_of_another_shape_is_refused(exported):
    component = mask_component()
    with pytest.raises(EngineError, match="subject"):
        measure(component, reference_outputs(component), [lambda inputs: {"subject": np.zeros((1, 1))}], "fp32")


def test_nan_never_passes():
    for limit in (10.0, None):
        assert not Figure(name="snr_db", value=float("nan"), limit=limit).passed
    assert Figure(name="snr_db", value=1.0).passed


def test_torch_outputs_must_be_finite():
    def broken():
        net = seeded(TinyMask)
        with torch.no_grad():
            net.head.bias.fill_(torch.nan)
        return net

    with pytest.raises(ConversionError, match="subject is not finite"):
        reference_outputs(mask_component(broken))


def test_planted_damage_stops_the_conversion(tmp_path):
    with pytest.raises(ConversionError, match=r"Vision in fp32 .*subject snr_db \d.*Allowed: 70 or more"):
        convert_component(mask_component(damaged(0.05)), TARGET, load_recipe("fp32"), tmp_path, lambda line: None)


def test_a_quantised_component_off_its_limits_stays_float_and_says_so(tmp_path):
    equal = Agreement(name="mask_iou", compare=lambda a, b: float(np.allclose(a["subject"], b["subject"], atol=1e-5)))
    component = mask_component(agreements=(equal,))
    converted = convert_component(component, TARGET, load_recipe("int8"), tmp_path, lambda line: None)
    assert converted.parity.precision == "fp32"
    limit = LIMITS["mask_iou"]["int8"]
    assert converted.note == f"int8 measured mask_iou 0, allowed {limit:g} or more: kept in float"
    assert converted.file == tmp_path / "vision.onnx"
    assert converted.describe().precision == "fp32"


def test_a_component_that_must_stay_float_keeps_its_note(tmp_path):
    component = mask_component(float_note="white-box")
    converted = convert_component(component, TARGET, load_recipe("int8"), tmp_path, lambda line: None)
    assert (converted.parity.precision, converted.note) == ("fp32", "white-box")
    assert [path.name for path in tmp_path.iterdir()] == ["vision.onnx"]


def test_every_limit_is_given_for_every_precision_and_loosens_with_it():
    for limits in LIMITS.values():
        assert list(limits) == ["fp32", "fp16", "int8", "int4"]
        assert limits["fp32"] >= limits["fp16"] >= limits["int8"] >= limits["int4"]
