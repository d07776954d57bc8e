"""What light and cameras do to a photograph's tones: wrong exposure, casts, flatness, for whole batches at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from converters.nano_banana.constants import LUMA
from converters.nano_banana.tone import contrast, expose, to_encoded, to_linear


@dataclass(frozen=True)
class Damage:
    """What was done to each picture of a batch; every tensor float32 (batch, 1, 1, 1), gains (batch, 3, 1, 1).

    stops, hard (1 = clips upwards, 0 = with a shoulder) and gamma are the exposure; gains the cast; slope, black,
    white and curve the contrast; pale the share of colour lost.
    """

    stops: Tensor
    hard: Tensor
    gamma: Tensor
    gains: Tensor
    slope: Tensor
    black: Tensor
    white: Tensor
    curve: Tensor
    pale: Tensor

    def without(self, kind: str, chosen: Tensor) -> Damage:
        """Return the damage with one kind of KINDS undone where `chosen`, bool (batch, 1, 1, 1), is set."""

        def neutral(value: Tensor, rest: float) -> Tensor:
            return torch.where(chosen, torch.full_like(value, rest), value)

        if kind == "exposure":
            return replace(self, stops=neutral(self.stops, 0.0), gamma=neutral(self.gamma, 1.0))
        if kind == "cast":
            return replace(self, gains=neutral(self.gains, 1.0))
        return replace(
            self, slope=neutral(self.slope, 1.0), black=neutral(self.black, 0.0), white=neutral(self.white, 1.0),
            curve=neutral(self.curve, 0.0),
        )

    def joined(self, other: Damage, device: str) -> Damage:
        """Return the damage of both batches, one after the other, on a device."""
        names = [field.name for field in fields(self)]
        return Damage(**{name: torch.cat([getattr(self, name), getattr(other, name)]).to(device) for name in names})

    def apply(self, photos: Tensor) -> Tensor:
        """Return damaged pictures, encoded RGB (batch, 3, h, w) in 0..1 as 8 bits hold them."""
        grey = (photos * photos.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
        value = photos + self.pale * (grey - photos)
        value = contrast(0.5 + (value - 0.5) * self.slope, self.curve)
        value = (self.black + (self.white - self.black) * value).clamp(0.0, 1.0)
        linear = to_linear(value)
        plain = (linear * torch.exp2(self.stops)).clamp(0.0, 1.0)
        linear = torch.where(self.hard > 0.5, plain, expose(linear, self.stops / 2.0))
        encoded = to_encoded((linear * self.gains).clamp(0.0, 1.0)).clamp(0.0, 1.0) ** self.gamma
        return torch.round(encoded * 255.0) / 255.0


def no_damage(count: int) -> Damage:
    """Return damage that leaves `count` pictures as they are."""
    zero, one = torch.zeros(count, 1, 1, 1), torch.ones(count, 1, 1, 1)
    return Damage(
        stops=zero, hard=zero, gamma=one, gains=one.expand(-1, 3, -1, -1), slope=one, black=zero, white=one,
        curve=zero, pale=zero,
    )


def cast_gains(warmth: Tensor, tint: Tensor) -> Tensor:
    """Gains in linear light (batch, 3, 1, 1) of a cast; 1 = half a stop of red and blue, a third of a stop of green."""
    stops = torch.cat([0.5 * warmth + 0.175 * tint, -0.35 * tint, -0.5 * warmth + 0.175 * tint], 1)
    gains = torch.exp2(stops)
    return gains / (gains * gains.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)


def random_damage(count: int, generator: torch.Generator) -> Damage:
    """Return damage of one or several kinds; 15 % of the pictures stay whole."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    def chosen(share: float) -> Tensor:
        return (uniform(0.0, 1.0) < share).float()

    only, broken = uniform(0.0, 3.0).floor(), chosen(0.85)

    def kind(number: int) -> Tensor:
        return broken * torch.maximum((only == number).float(), chosen(0.35))

    exposed, tinted, flat = kind(0), kind(1), kind(2)
    by_stops, curved = chosen(0.8), chosen(0.25)
    odd = torch.exp2(0.08 * torch.randn(count, 3, 1, 1, generator=generator) * tinted)
    hazy, squeezed, flattened = chosen(0.4), chosen(0.4), chosen(0.5)
    straight = flat * (1.0 - curved)
    return Damage(
        stops=exposed * by_stops * uniform(-2.0, 2.0),
        hard=chosen(0.7),
        gamma=torch.exp2(exposed * (1.0 - by_stops) * uniform(-0.7, 0.9)),
        gains=cast_gains(tinted * uniform(-1.1, 1.1), tinted * uniform(-1.1, 1.1) * chosen(0.6)) * odd,
        slope=1.0 - straight * flattened * uniform(0.1, 0.5),
        black=straight * hazy * uniform(0.03, 0.28),
        white=1.0 - straight * squeezed * uniform(0.03, 0.28),
        curve=flat * curved * uniform(0.1, 0.7),
        pale=broken * chosen(0.35) * uniform(0.1, 0.5),
    )
