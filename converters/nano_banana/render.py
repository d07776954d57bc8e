"""The white-box half of nano-banana: `Context` and `Render`, without weights, differentiable, in plain tensor ops.

A photo goes through fixed stages: tone (one curve per channel), detail (local contrast, blur ...), colour (one 3x3
matrix), effects, regions. What makes this fast on a small processor: every tone adjustment is a function of one
8-bit channel, so all of them together are one 256-entry table; every linear colour adjustment is part of one
matrix; every large blur is done on a reduced copy (`Context`) and folded into one affine map per pixel,
y = P*(x + k*luma(x)) + Q, whose P and Q are small images that `Render` enlarges. So the cost hardly depends on how
many adjustments a plan has, and big photos can be rendered strip by strip.

Region rows: R = 1 for a plan on the whole photo, R = 2 (subject, background) otherwise. What each adjustment means
is written down once more, straightforwardly and in float64, in `definitions.py`; tests compare the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters.nano_banana.constants import (
    GRAIN_TILE,
    GUIDE_EPSILON,
    GUIDE_RADIUS,
    LUMA,
    MASK_GAIN,
    SEPIA,
    SPLIT_HIGHLIGHTS,
    SPLIT_SHADOWS,
)
from converters.nano_banana.tone import tone_tables
from converters.nano_banana.vocabulary import indices


class Context(nn.Module):
    """What must look at the whole photo, computed on a copy of at most 384 px.

    photo uint8 (1, h, w, 3); mask float32 (1, 1, H, W), 1 = subject, all ones for R = 1; amounts float32 (R, A)
    -> layers float32 (R, 4, h, w), P and the three Q above; matte float32 (1, 4, h, w), coefficients with which
    mask = a . rgb + b follows the photo's edges (He et al., Guided Image Filtering, 2010).
    """

    def forward(self, photo: Tensor, mask: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """Return (layers, matte)."""
        pixels = photo.to(torch.int32).permute(0, 3, 1, 2)
        guide = pixels.to(torch.float32) / 255.0
        soft = functional.interpolate(mask, size=guide.shape[2:], mode="bilinear", align_corners=False)
        # decided places become fully opaque or transparent; what lies between is left to the photo's edges
        decided = ((soft - 0.5) * MASK_GAIN + 0.5).clamp(0.0, 1.0)
        matte = guided_coefficients(guide, decided)
        refined = apply_matte(guide, matte)
        return self._layers(lookup(pixels, tone_tables(amounts)), refined, amounts), matte

    def _layers(self, toned: Tensor, mask: Tensor, amounts: Tensor) -> Tensor:
        """toned (R, 3, h, w), mask (1, 1, h, w), amounts (R, A) -> P and Q stacked, (R, 4, h, w)."""
        amount = _Amounts(amounts)
        weights = region_weights(mask, amounts) + 0.01
        height, width = toned.shape[2], toned.shape[3]
        # dim sizes as tensors keep the graph dynamic; sigma is in pixels of this copy
        long_side = torch.maximum(_extent(toned, 2), _extent(toned, 3))
        blur = amount("blur")
        fine = masked_blur(toned, weights, (0.003 + 0.022 * blur) * long_side, height, width)
        dark = functional.max_pool2d(-toned.amin(dim=1, keepdim=True), 3, 1, 1).neg()
        coarse = masked_blur(torch.cat([toned, dark], 1), weights, 0.02 * long_side + 0.0 * blur, height, width)
        wide, dark = coarse[:, :3], coarse[:, 3:]
        share = (blur / 0.15).clamp(0.0, 1.0)
        gain = clarity_gain(amounts)
        haze = (0.9 * amount("dehaze") * dark).clamp(0.0, 0.95)
        glow = 0.6 * amount("glow") * wide
        veil = 1.0 - luma_of(glow)
        blurred = share * fine
        local = blurred + gain * (luma_of(blurred) - luma_of(wide))
        scale = (1.0 - share) * veil / (1.0 - haze)
        shift = (local - haze) / (1.0 - haze) * veil + glow
        return torch.cat([scale, shift], 1)


class Render(nn.Module):
    """Photo (or a strip of it) and plan in, photo out, at full resolution.

    image uint8 (1, h, w, 4) RGBA; layers float32 (R, 4, lh, lw) and matte float32 (1, 4, lh, lw) for the same
    pixels, enlarged here; amounts float32 (R, A); color float32 (R, 3), 0..1, of `fill`; window float32 (4,): row
    and column of the strip's first pixel, height and width of the whole photo -> uint8 (1, h, w, 4).
    """

    noise: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(GRAIN_TILE, GRAIN_TILE, generator=generator)
        self.register_buffer("noise", noise, persistent=False)

    def forward(
        self, image: Tensor, layers: Tensor, matte: Tensor, amounts: Tensor, color: Tensor, window: Tensor
    ) -> Tensor:
        """Return the edited picture, straight alpha."""
        planes = image.permute(0, 3, 1, 2)
        pixels = planes[:, :3].to(torch.int32)
        toned = lookup(pixels, tone_tables(amounts))
        detailed = self._detail(toned, layers, amounts)
        colored = self._color(detailed, amounts)
        finished = self._effects(colored, amounts, color, window)
        weights = self._weights(pixels, matte, amounts)
        alpha = weights.sum(0, keepdim=True)
        rgb = (finished * weights).sum(0, keepdim=True) / alpha.clamp_min(1e-4)
        opacity = alpha * planes[:, 3:].to(torch.float32)
        return torch.cat([to_bytes(rgb * 255.0), to_bytes(opacity)], 1).permute(0, 2, 3, 1)

    def _detail(self, toned: Tensor, layers: Tensor, amounts: Tensor) -> Tensor:
        """Sharpen the luma at full resolution, then the affine map from `Context`."""
        luma = luma_of(toned)
        detail = 1.5 * _Amounts(amounts)("sharpen") * (luma - smooth(luma))
        lift = detail + clarity_gain(amounts) * (luma + detail)
        large = functional.interpolate(layers, size=toned.shape[2:], mode="bilinear", align_corners=False)
        return ((toned + lift) * large[:, :1] + large[:, 1:]).clamp(0.0, 1.0)

    def _color(self, rgb: Tensor, amounts: Tensor) -> Tensor:
        amount = _Amounts(amounts)
        luma = luma_of(rgb)
        red, green, blue = rgb[:, :1], rgb[:, 1:2], rgb[:, 2:]
        chroma = torch.maximum(torch.maximum(red, green), blue) - torch.minimum(torch.minimum(red, green), blue)
        vivid = luma + (rgb - luma) * (1.0 + amount("vibrance") * (1.0 - chroma))
        strength = 0.12 * amount("teal_orange")
        warm = strength * luma.square()
        cold = strength * (1.0 - luma).square()
        toning = luma.new_tensor([SPLIT_HIGHLIGHTS, SPLIT_SHADOWS]).transpose(0, 1)
        split = torch.matmul(toning, torch.cat([warm, cold], 1).flatten(2))
        matrix, bias = color_matrix(amounts)
        mixed = torch.matmul(matrix, vivid.flatten(2) + split) + bias
        return mixed.reshape(rgb.shape).clamp(0.0, 1.0)

    def _effects(self, rgb: Tensor, amounts: Tensor, color: Tensor, window: Tensor) -> Tensor:
        amount = _Amounts(amounts)
        posterize = amount("posterize")
        steps = torch.floor(15.0 - 13.0 * posterize)
        active = (posterize > 0).to(rgb.dtype)
        rgb = rgb + active * (torch.round(rgb * steps) / steps - rgb)
        rows, columns = _positions(rgb, window)
        edge = 0.75 * vignette_shape(rows, columns, window) * amount("vignette").abs()
        light = edge * (amount("vignette") < 0).to(rgb.dtype)
        grain = 0.12 * amount("grain") * self._grain(rows, columns, window)
        rgb = (rgb * (1.0 - edge) + (light + grain)).clamp(0.0, 1.0)
        fill = amount("fill")
        return rgb * (1.0 - fill) + fill * color.reshape(-1, 3, 1, 1)

    def _grain(self, rows: Tensor, columns: Tensor, window: Tensor) -> Tensor:
        """Noise of the grain's own size: one grain per pixel up to 1200 px, larger grains in larger photos."""
        size = torch.round(torch.maximum(window[2], window[3]) / 1200.0).clamp_min(1.0)
        row = torch.floor(rows / size).to(torch.int64) % GRAIN_TILE
        column = torch.floor(columns / size).to(torch.int64) % GRAIN_TILE
        return self.noise.index_select(1, column).index_select(0, row)

    def _weights(self, pixels: Tensor, matte: Tensor, amounts: Tensor) -> Tensor:
        """Share of every region row in every pixel, times the opacity it keeps: (R, 1, h, w)."""
        large = functional.interpolate(matte, size=pixels.shape[2:], mode="bilinear", align_corners=False)
        mask = apply_matte(pixels.to(torch.float32) / 255.0, large)
        return region_weights(mask, amounts) * (1.0 - _Amounts(amounts)("remove"))


def lookup(pixels: Tensor, tables: Tensor) -> Tensor:
    """pixels int32 (1, 3, h, w) in 0..255, tables (R, 3, 256) -> (R, 3, h, w)."""
    offsets = torch.arange(3, dtype=torch.int32, device=pixels.device).reshape(1, 3, 1, 1) * 256
    flat = (pixels + offsets).reshape(1, -1).to(torch.int64)
    # gather, not index_select: ONNX Runtime runs GatherElements four times as fast as Gather here
    values = torch.gather(tables.flatten(1), 1, flat.expand(tables.shape[0], -1))
    return values.reshape(tables.shape[0], 3, pixels.shape[2], pixels.shape[3])


def luma_of(rgb: Tensor) -> Tensor:
    """rgb (R, 3, h, w) -> (R, 1, h, w). A matrix product: a sum over channels is ten times slower in ORT."""
    luma = torch.matmul(rgb.new_tensor(LUMA).reshape(1, 3), rgb.flatten(2))
    return luma.reshape(rgb.shape[0], 1, rgb.shape[2], rgb.shape[3])


def smooth(plane: Tensor) -> Tensor:
    """Two 3x3 box means of (R, 1, h, w), a Gaussian of about 1.15 pixels; the border repeats itself."""
    kernel = plane.new_full((1, 1, 3, 3), 1.0 / 9.0)
    padded = functional.pad(plane, (2, 2, 2, 2), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel), kernel)


def region_weights(mask: Tensor, amounts: Tensor) -> Tensor:
    """mask (1, 1, h, w) -> (R, 1, h, w): the mask for row 0, its complement for row 1."""
    row = torch.cumsum(torch.ones_like(amounts[:, :1]), 0).reshape(-1, 1, 1, 1) - 1.0
    return mask * (1.0 - row) + (1.0 - mask) * row


def apply_matte(rgb: Tensor, matte: Tensor) -> Tensor:
    """Evaluate a . rgb + b, stretched a little so that safe subject is 1 and safe background 0."""
    product = rgb * matte[:, :3]
    mask = product[:, :1] + product[:, 1:2] + product[:, 2:] + matte[:, 3:]
    return ((mask - 0.06) / 0.88).clamp(0.0, 1.0)


def guided_coefficients(guide: Tensor, mask: Tensor) -> Tensor:
    """Colour guided filter: guide (1, 3, h, w), mask (1, 1, h, w) -> a and b, (1, 4, h, w)."""
    r, g, b = guide[:, :1], guide[:, 1:2], guide[:, 2:]
    means = box_mean(torch.cat([guide, mask, r * r, r * g, r * b, g * g, g * b, b * b, guide * mask], 1))
    mr, mg, mb, mm = (means[:, i : i + 1] for i in range(4))
    first = (mr * mr, mr * mg, mr * mb, mg * mg, mg * mb, mb * mb)
    rr, rg, rb, gg, gb, bb = (means[:, 4 + i : 5 + i] - square for i, square in enumerate(first))
    rr, gg, bb = rr + GUIDE_EPSILON, gg + GUIDE_EPSILON, bb + GUIDE_EPSILON
    cr, cg, cb = means[:, 10:11] - mr * mm, means[:, 11:12] - mg * mm, means[:, 12:13] - mb * mm
    # inverse of the symmetric covariance by cofactors: three channels don't need a solver
    i00, i01, i02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    i11, i12, i22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * i00 + rg * i01 + rb * i02
    ar = (i00 * cr + i01 * cg + i02 * cb) / determinant
    ag = (i01 * cr + i11 * cg + i12 * cb) / determinant
    ab = (i02 * cr + i12 * cg + i22 * cb) / determinant
    return box_mean(torch.cat([ar, ag, ab, mm - ar * mr - ag * mg - ab * mb], 1))


def box_mean(values: Tensor) -> Tensor:
    """Mean over a square window of (1, C, h, w); the border repeats itself.

    A depthwise convolution with ones: average pooling is twelve times slower in ORT. Channels are filled up to a
    multiple of 8, for which its blocked kernels exist.
    """
    channels, size = values.shape[1], 2 * GUIDE_RADIUS + 1
    filled = -(-channels // 8) * 8
    padded = functional.pad(values, (GUIDE_RADIUS,) * 4, mode="replicate")
    padded = functional.pad(padded, (0, 0, 0, 0, 0, filled - channels))
    column = values.new_full((filled, 1, size, 1), 1.0 / size)
    row = values.new_full((filled, 1, 1, size), 1.0 / size)
    mean = functional.conv2d(functional.conv2d(padded, column, groups=filled), row, groups=filled)
    return mean[:, :channels]


def masked_blur(values: Tensor, weights: Tensor, sigma: Tensor, height: int, width: int) -> Tensor:
    """Gaussian blur that takes colour from the region itself only: G(values*weights) / G(weights).

    values (R, C, h, w), weights (R, 1, h, w), sigma (R, 1, 1, 1) in pixels. Two matrix products per channel: the
    width of the kernel may then depend on the plan, and the edges need no padding.
    """
    vertical = gaussian_matrix(_index(values, 2), sigma)
    horizontal = gaussian_matrix(_index(values, 3), sigma)

    def blur(planes: Tensor) -> Tensor:
        return torch.matmul(torch.matmul(vertical, planes), horizontal.transpose(2, 3))

    return blur(values * weights) / blur(weights)


def gaussian_matrix(index: Tensor, sigma: Tensor) -> Tensor:
    """index (n,), sigma (R, 1, 1, 1) -> (R, 1, n, n), rows sum to 1."""
    distance = index.reshape(1, 1, -1, 1) - index.reshape(1, 1, 1, -1)
    kernel = torch.exp(-0.5 * (distance / sigma).square())
    return kernel / kernel.sum(3, keepdim=True)


def clarity_gain(amounts: Tensor) -> Tensor:
    """Gain of local contrast, (R, 1, 1, 1)."""
    amount = _Amounts(amounts)("clarity")
    return torch.where(amount > 0, 0.8 * amount, 0.6 * amount)


def color_matrix(amounts: Tensor) -> tuple[Tensor, Tensor]:
    """Saturation, hue, black and white, sepia, fade and invert as one matrix (R, 3, 3) and bias (R, 3, 1)."""
    amount = _Amounts(amounts, (-1, 1, 1))
    identity = torch.eye(3, device=amounts.device)
    grey = amounts.new_tensor(LUMA).reshape(1, 1, 3).expand(1, 3, 3)
    matrix = grey + (identity - grey) * (1.0 + amount("saturation"))
    matrix = torch.matmul(_hue_rotation(amount("hue") * torch.pi), matrix)
    matrix = torch.matmul(identity + amount("black_and_white") * (grey - identity), matrix)
    sepia = amounts.new_tensor(SEPIA).reshape(1, 3, 3)
    matrix = torch.matmul(identity + amount("sepia") * (sepia - identity), matrix)
    fade = amount("fade")
    paler = grey + (identity - grey) * (1.0 - 0.3 * fade)
    matrix = torch.matmul(paler * (1.0 - 0.22 * fade), matrix)
    invert = amount("invert")
    kept = 1.0 - 2.0 * invert
    return matrix * kept, 0.15 * fade * kept + invert + torch.zeros_like(matrix[:, :, :1])


def _hue_rotation(angle: Tensor) -> Tensor:
    """Rotation about the grey axis (Rodrigues): angle (R, 1, 1) in radians -> (R, 3, 3)."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    identity = torch.eye(3, device=angle.device)
    third = torch.full((3, 3), 1.0 / 3.0, device=angle.device)
    cross = angle.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3.0**0.5
    rotation: Tensor = cosine * identity + (1.0 - cosine) * third + sine * cross
    return rotation


def vignette_shape(rows: Tensor, columns: Tensor, window: Tensor) -> Tensor:
    """0 in the middle, 1 in the corners, smooth: (h, w)."""
    vertical = (2.0 * (rows + 0.5) / window[2] - 1.0).square().reshape(-1, 1)
    horizontal = (2.0 * (columns + 0.5) / window[3] - 1.0).square().reshape(1, -1)
    radius = (((vertical + horizontal) / 2.0 - 0.1) / 0.9).clamp(0.0, 1.0)
    return radius * radius * (3.0 - 2.0 * radius)


def to_bytes(values: Tensor) -> Tensor:
    """Round 0..255 to uint8."""
    return torch.floor(values + 0.5).clamp(0.0, 255.0).to(torch.uint8)


def _positions(values: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    return _index(values, 2) + window[0], _index(values, 3) + window[1]


def _index(values: Tensor, dim: int) -> Tensor:
    return torch.arange(values.shape[dim], dtype=torch.float32, device=values.device)


def _extent(values: Tensor, dim: int) -> Tensor:
    return _index(values, dim).amax(0) + 1.0


class _Amounts:
    """Reads one adjustment's amounts, shaped to broadcast over (R, C, h, w)."""

    def __init__(self, amounts: Tensor, shape: tuple[int, ...] = (-1, 1, 1, 1)) -> None:
        self.amounts, self.shape = amounts, shape

    def __call__(self, name: str) -> Tensor:
        found: Tensor = self.amounts[:, indices()[name]].reshape(self.shape)
        return found
