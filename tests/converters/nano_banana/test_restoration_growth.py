"""Training goes on from weights of an older shape, and on rounded values, without losing what was learned."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from converters.nano_banana.eight_bits import Convolution, rounded, train_in_eight_bits
from converters.nano_banana.restoration import TASKS, RestorationNet, save
from converters.nano_banana.restoration_growth import start_from, wake


def awake() -> RestorationNet:
    torch.manual_seed(0)
    net = RestorationNet()
    torch.nn.init.normal_(net.head.weight, std=0.05)
    return net


def of_one_block_a_level(net: RestorationNet) -> dict[str, Tensor]:
    """The network's tensors as they were named when a level had one block, its further blocks left out."""
    further = [f"{part}.{level}.{place}." for part in ("encoder", "decoder") for level in range(4) for place in (1, 2)]
    kept = {name: value for name, value in net.state_dict().items() if not name.startswith(tuple(further))}
    return {
        ".".join(name.split(".")[:2] + name.split(".")[3:]) if name[:7] in ("encoder", "decoder") else name: value
        for name, value in kept.items()
    }


def restored(net: RestorationNet) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        result: Tensor = net(torch.rand(1, 3, 64, 64), torch.full((1, len(TASKS)), 0.4))
    return result


def test_further_blocks_change_nothing_at_first(tmp_path: Path) -> None:
    net = awake()
    for level in (*net.encoder, *net.decoder):
        for block in list(level)[1:]:
            torch.nn.init.zeros_(block.second.weight)
            torch.nn.init.zeros_(block.second.bias)
    save_file(of_one_block_a_level(net), tmp_path / "old.safetensors")
    grown = start_from(tmp_path / "old.safetensors")
    assert torch.equal(restored(grown), restored(net))
    assert all(block.first.weight.abs().max() > 0 for level in (*grown.encoder, *grown.decoder) for block in level)


def test_a_narrower_block_keeps_its_strongest_channels(tmp_path: Path) -> None:
    net = awake()
    old = net.state_dict()
    inside = net.encoder[2][0].first.out_channels
    silent = torch.randperm(inside + 8)[:8]
    heard = [channel for channel in range(inside + 8) if channel not in silent]
    for name, axis in (("first.weight", 0), ("first.bias", 0), ("second.weight", 1)):
        value = old[f"encoder.2.0.{name}"]
        size = list(value.shape)
        size[axis] += 8
        wide = torch.full(size, 1e-4)
        wide.index_copy_(axis, torch.tensor(heard), value)
        old[f"encoder.2.0.{name}"] = wide
    save_file({name: value.contiguous() for name, value in old.items()}, tmp_path / "wide.safetensors")
    assert torch.equal(restored(start_from(tmp_path / "wide.safetensors")), restored(net))


def test_the_same_shape_is_copied(tmp_path: Path) -> None:
    net = awake()
    save(net, tmp_path / "own.safetensors")
    assert torch.equal(restored(start_from(tmp_path / "own.safetensors")), restored(net))


def test_rounding_has_256_steps_with_zero_among_them() -> None:
    torch.manual_seed(0)
    values = torch.randn(1, 3, 32, 32)
    found = rounded(values)
    step = (values.max() - values.min()) / 255
    assert len(found.unique()) <= 257
    assert (found - values).abs().max() <= step / 2 * 1.001
    assert torch.equal(rounded(torch.zeros(1, 1, 2, 2)), torch.zeros(1, 1, 2, 2))


def test_rounding_cuts_what_one_picture_of_many_has() -> None:
    torch.manual_seed(0)
    values = torch.randn(16, 3, 32, 32)
    usual = float(values.abs().max())
    values[3, 0, 0, 0] = 10 * usual
    found = rounded(values)
    assert found.max() <= usual
    assert (found - values).abs().flatten(1).amax(1).median() < 0.1


def test_convolutions_round_only_while_they_train_in_eight_bits() -> None:
    torch.manual_seed(0)
    layer, features = Convolution(4, 4, 3, padding=1, rounds_result=True), torch.randn(1, 4, 8, 8)
    plain = layer(features)
    train_in_eight_bits(layer)
    close = layer(features)
    assert not torch.equal(close, plain)
    assert (close - plain).abs().max() < 0.1
    assert torch.equal(layer.eval()(features), plain)


def test_gradients_pass_the_rounding() -> None:
    layer, features = Convolution(4, 4, 3, padding=1, rounds_result=True), torch.randn(1, 4, 8, 8, requires_grad=True)
    train_in_eight_bits(layer)
    layer(features).sum().backward()
    assert features.grad is not None
    assert features.grad.abs().max() > 0
    assert layer.weight.grad is not None


def test_channels_that_sleep_begin_anew_without_effect() -> None:
    net = awake()
    block = net.decoder[1][0]
    assert block.first.bias is not None
    torch.nn.init.constant_(block.first.bias[5:8], -1e3)
    torch.manual_seed(2)
    photos, strengths = torch.rand(2, 3, 64, 64), torch.full((2, len(TASKS)), 0.4)
    average = deepcopy(net)
    inside: list[Tensor] = []
    with torch.no_grad():
        before = net(photos, strengths)
        assert wake(net, average, [(photos, strengths)]) == 3
        assert torch.equal(net(photos, strengths), before)
        assert torch.equal(average(photos, strengths), before)
        block.first.register_forward_hook(lambda module, inputs, output: inside.append(output[:, 5:8]))
        net(photos, strengths)
    assert inside[0].mean((0, 2, 3)).abs().max() < 0.01
    assert (inside[0].std((0, 2, 3)) - 1).abs().max() < 0.01
    assert wake(net, average, [(photos, strengths)]) == 0
