"""Rounding in training: it rounds as the recipe does, lets gradients through, and leaves a float network behind."""

from __future__ import annotations

import torch

from converters.nano_banana.quantisation_aware import Rounded, rounded_weight, rounding
from converters.nano_banana.restoration import TASKS, Block, RestorationNet, Rise


def test_values_are_rounded_to_256_between_the_extremes() -> None:
    values = torch.linspace(-1, 3, 4001)
    rounded = Rounded()(values)
    assert len(rounded.unique()) <= 256 and (rounded - values).abs().max() <= 4 / 255
    assert (rounded == 0).any()  # zero stays exact, as borders are filled with it


def test_ranges_stay_when_not_training() -> None:
    values = Rounded()
    values(torch.tensor([-1.0, 1.0]))
    values.eval()
    assert values(torch.tensor([5.0])).item() < 1.01


def test_weights_have_a_scale_for_each_channel() -> None:
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([1.0, 0.1, 10.0, 1e-3]).reshape(4, 1, 1, 1)
    steps = weight.flatten(1).abs().amax(1) / 64
    wrong = (rounded_weight(weight) - weight).flatten(1).abs().amax(1)
    assert (wrong <= 0.51 * steps).all()


def test_a_network_learns_while_rounded_and_is_float_afterwards() -> None:
    torch.manual_seed(0)
    net = RestorationNet((8, 8, 8, 8)).train()
    names = set(net.state_dict())
    photos, told = torch.rand(2, 3, 32, 32), torch.zeros(2, len(TASKS))
    plain = net(photos, told)
    with rounding(net, (Block, Rise)):
        rounded = net(photos, told)
        rounded.square().mean().backward()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        optimiser.step()
    assert 0 < (rounded - plain).abs().max() < 0.1
    assert set(net.state_dict()) == names
    assert all(value.grad is not None for name, value in net.named_parameters() if name.endswith("first.weight"))
    assert not torch.equal(net(photos, told), plain)
    assert torch.equal(net(photos, told), net(photos, told))
