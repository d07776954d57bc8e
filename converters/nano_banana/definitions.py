"""What every adjustment means, straightforwardly and in float64: the yardstick for the renderer.

One small function per adjustment, `(rgb float64 (h, w, 3) in 0..1, amount) -> rgb`, in the order of `STAGES`,
independent of `render.py` (which folds them into tables, matrices and reduced copies). Written for reading and
measuring, not for speed. Blurs run over the true pixels here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from converters.nano_banana.constants import (
    BLUR_SHARE,
    CYANOTYPE_DARK,
    CYANOTYPE_LIGHT,
    FINE_SHARE,
    HDR_COMPRESSION,
    HDR_LOCAL,
    HIGHLIGHT_GAIN,
    HUE_RANGES,
    LUMA,
    SEPIA,
    SHADOW_GAIN,
    SKETCH_FLOOR,
    SKETCH_SHARE,
    SKETCH_STRENGTH,
    SKIN_CONTRAST,
    SKIN_EVENING,
    SPLIT_HIGHLIGHTS,
    SPLIT_SHADOWS,
    TILT_BAND,
    TILT_REACH,
    TILT_SHARE,
    WIDE_SHARE,
)
from converters.nano_banana.vocabulary import vocabulary

Image = NDArray[np.float64]
Definition = Callable[[Image, float], Image]


def luma(rgb: Image) -> Image:
    """Rec. 709 luma of encoded values, (h, w, 1)."""
    return (rgb @ np.array(LUMA))[..., None]


def decode(value: Image) -> Image:
    """sRGB to linear light."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def encode(linear: Image) -> Image:
    """Linear light to sRGB."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0) ** (1 / 2.4) - 0.055)


def _balanced(rgb: Image, stops: NDArray[np.float64]) -> Image:
    gains = 2.0**stops
    return encode(decode(rgb) * gains / (gains @ np.array(LUMA)))


def warmth(rgb: Image, a: float) -> Image:
    """Red up and blue down by half a stop each at 1."""
    return _balanced(rgb, a * np.array([0.5, 0.0, -0.5]))


def tint(rgb: Image, a: float) -> Image:
    """Magenta above 0, green below."""
    return _balanced(rgb, a * np.array([0.175, -0.35, 0.175]))


def exposure(rgb: Image, a: float) -> Image:
    """Two stops at 1, with a shoulder upwards."""
    gain, linear = 2.0 ** (2.0 * a), decode(rgb)
    return encode(gain * linear / (1.0 + max(gain - 1.0, 0.0) * linear))


def midtones(rgb: Image, a: float) -> Image:
    """Gamma 2^-a."""
    return rgb ** 2.0**-a


def contrast(rgb: Image, a: float) -> Image:
    """Power S-curve upwards, straight line downwards."""
    if a <= 0.0:
        return 0.5 + (rgb - 0.5) * (1.0 + 0.6 * a)
    distance = 1.0 - np.abs(2.0 * rgb - 1.0)
    return np.where(rgb < 0.5, 0.5 * distance ** 2.0**a, 1.0 - 0.5 * distance ** 2.0**a)


def shadows(rgb: Image, a: float) -> Image:
    """Bell around 1/3."""
    return rgb + 6.75 * a * SHADOW_GAIN[0 if a > 0 else 1] * rgb * (1.0 - rgb) ** 2


def highlights(rgb: Image, a: float) -> Image:
    """Bell around 2/3."""
    return rgb + 6.75 * a * HIGHLIGHT_GAIN[0 if a > 0 else 1] * rgb**2 * (1.0 - rgb)


def whites(rgb: Image, a: float) -> Image:
    """Move the white point."""
    return rgb + 0.15 * a * rgb**4


def blacks(rgb: Image, a: float) -> Image:
    """Move the black point."""
    return rgb + 0.15 * a * (1.0 - rgb) ** 4


def solarize(rgb: Image, a: float) -> Image:
    """Invert the tones above the middle."""
    return (1.0 - a) * rgb + a * np.minimum(rgb, 1.0 - rgb)


def sharpen(rgb: Image, a: float) -> Image:
    """Unsharp mask on the luma."""
    bright = luma(rgb)
    soft = ndimage.uniform_filter(ndimage.uniform_filter(bright[..., 0], 3, mode="nearest"), 3, mode="nearest")
    return rgb + 1.5 * a * (bright - soft[..., None])


def gaussian(values: Image, share: float) -> Image:
    """Blur each channel; sigma is a share of the long side."""
    sigma = share * max(values.shape[:2])
    planes = np.moveaxis(values, -1, 0)
    return np.stack([ndimage.gaussian_filter(plane, sigma, mode="nearest") for plane in planes], -1)


def clarity(rgb: Image, a: float) -> Image:
    """Local contrast of the luma."""
    bright = luma(rgb)
    return rgb + (0.8 if a > 0 else 0.6) * a * (bright - gaussian(bright, WIDE_SHARE))


def blur(rgb: Image, a: float) -> Image:
    """Gaussian blur, mixed in below 0.15."""
    share = min(a / 0.15, 1.0)
    return (1.0 - share) * rgb + share * gaussian(rgb, FINE_SHARE + BLUR_SHARE * a)


def dehaze(rgb: Image, a: float) -> Image:
    """Take away the blurred darkest channel."""
    haze = np.clip(0.9 * a * gaussian(ndimage.minimum_filter(rgb.min(-1), 3)[..., None], WIDE_SHARE), 0.0, 0.95)
    return (rgb - haze) / (1.0 - haze)


def glow(rgb: Image, a: float) -> Image:
    """Screen with a wide blur."""
    bloom = 0.6 * a * gaussian(rgb, WIDE_SHARE)
    return rgb * (1.0 - luma(bloom)) + bloom


def hdr(rgb: Image, a: float) -> Image:
    """Large-scale brightness compressed around mid-grey, local contrast raised."""
    bright = luma(rgb)
    wide = gaussian(bright, WIDE_SHARE)
    return rgb + HDR_LOCAL * a * (bright - wide) - HDR_COMPRESSION * a * (wide - 0.5)


def tilt_shift(rgb: Image, a: float) -> Image:
    """Sharp band across the middle; away from it first a fine blur, then a wide one, mixed in."""
    height = len(rgb)
    y = np.abs(2.0 * (np.arange(height) + 0.5) / height - 1.0)[:, None, None]
    distance = a * np.clip((y - TILT_BAND) / TILT_REACH, 0.0, 1.0)
    near, far = np.minimum(distance / 0.2, 1.0), np.maximum(distance - 0.2, 0.0) / 0.8
    fine, wide = gaussian(rgb, FINE_SHARE + TILT_SHARE * a), gaussian(rgb, WIDE_SHARE)
    return (1.0 - near) * rgb + near * ((1.0 - far) * fine + far * wide)


def skin_smooth(rgb: Image, a: float) -> Image:
    """Frequency separation: take weak contrast between the fine and the wide blur away, on the region alone."""
    blotches = gaussian(rgb, FINE_SHARE) - gaussian(rgb, WIDE_SHARE)
    return rgb - SKIN_EVENING * a * np.exp(-((blotches / SKIN_CONTRAST) ** 2)) * blotches


def sketch(rgb: Image, a: float) -> Image:
    """Colour dodge: grey divided by its blurred self, lines strengthened."""
    grey = (1.0 - a) * rgb + a * luma(rgb)
    paper = gaussian(luma(rgb), FINE_SHARE + SKETCH_SHARE * a)
    lines = 1.0 + SKETCH_STRENGTH * ((grey + SKETCH_FLOOR) / (paper + SKETCH_FLOOR) - 1.0)
    return (1.0 - a) * grey + a * lines


def hue_range(name: str) -> Definition:
    """Return the definition of one hue range: saturation times 1 + a*w(hue)."""
    centre, width = np.radians(HUE_RANGES[name])

    def saturate(rgb: Image, a: float) -> Image:
        red, green, blue = np.moveaxis(rgb, -1, 0)
        angle = np.arctan2(np.sqrt(0.75) * (green - blue), red - 0.5 * (green + blue))
        weight = np.maximum((np.cos(angle - centre) - np.cos(width)) / (1.0 - np.cos(width)), 0.0) ** 2
        return luma(rgb) + (rgb - luma(rgb)) * (1.0 + a * weight[..., None])

    return saturate


def vibrance(rgb: Image, a: float) -> Image:
    """Saturate what is pale."""
    bright, chroma = luma(rgb), np.ptp(rgb, axis=-1, keepdims=True)
    return bright + (rgb - bright) * (1.0 + a * (1.0 - chroma))


def teal_orange(rgb: Image, a: float) -> Image:
    """Orange highlights, teal shadows."""
    bright = luma(rgb)
    return rgb + 0.12 * a * (np.array(SPLIT_HIGHLIGHTS) * bright**2 + np.array(SPLIT_SHADOWS) * (1.0 - bright) ** 2)


def saturation(rgb: Image, a: float) -> Image:
    """Distance from grey times 1+a."""
    return luma(rgb) + (rgb - luma(rgb)) * (1.0 + a)


def hue(rgb: Image, a: float) -> Image:
    """Rotate about the grey axis by 180*a degrees."""
    axis, angle = np.ones(3) / np.sqrt(3.0), np.pi * a
    along = (rgb @ axis)[..., None] * axis
    return along + (rgb - along) * np.cos(angle) + np.cross(axis, rgb) * np.sin(angle)


def black_and_white(rgb: Image, a: float) -> Image:
    """Mix with the luma."""
    return (1.0 - a) * rgb + a * luma(rgb)


def sepia(rgb: Image, a: float) -> Image:
    """Mix with the sepia matrix."""
    return (1.0 - a) * rgb + a * (rgb @ np.array(SEPIA).T)


def cyanotype(rgb: Image, a: float) -> Image:
    """Mix with the luma as a ramp from Prussian blue to paper."""
    ink, paper = np.array(CYANOTYPE_DARK), np.array(CYANOTYPE_LIGHT)
    return (1.0 - a) * rgb + a * (ink + luma(rgb) * (paper - ink))


def fade(rgb: Image, a: float) -> Image:
    """Lift black to 0.15, lower white to 0.93, pale the colours."""
    return saturation(rgb, -0.3 * a) * (1.0 - 0.22 * a) + 0.15 * a


def invert(rgb: Image, a: float) -> Image:
    """Mix with the negative."""
    return (1.0 - a) * rgb + a * (1.0 - rgb)


def posterize(rgb: Image, a: float) -> Image:
    """Round to few levels."""
    steps = np.floor(15.0 - 13.0 * a)
    return np.asarray(np.round(rgb * steps) / steps) if a > 0 else rgb


def vignette(rgb: Image, a: float) -> Image:
    """Darken (above 0) or lighten the edges."""
    height, width = rgb.shape[:2]
    y = (2.0 * (np.arange(height) + 0.5) / height - 1.0)[:, None] ** 2
    x = (2.0 * (np.arange(width) + 0.5) / width - 1.0)[None, :] ** 2
    radius = np.clip(((x + y) / 2.0 - 0.1) / 0.9, 0.0, 1.0)
    edge = (0.75 * abs(a) * radius**2 * (3.0 - 2.0 * radius))[..., None]
    return rgb * (1.0 - edge) + (edge if a < 0 else 0.0)


STAGES: tuple[Mapping[str, Definition], ...] = (
    {"warmth": warmth, "tint": tint},
    {"exposure": exposure, "midtones": midtones, "contrast": contrast, "shadows": shadows, "highlights": highlights,
     "whites": whites, "blacks": blacks},
    {"solarize": solarize},
    {"sharpen": sharpen, "blur": blur, "tilt_shift": tilt_shift, "clarity": clarity, "hdr": hdr,
     "skin_smooth": skin_smooth, "dehaze": dehaze, "glow": glow, "sketch": sketch},
    {**{name: hue_range(name) for name in HUE_RANGES}, "vibrance": vibrance, "teal_orange": teal_orange,
     "saturation": saturation, "hue": hue,
     "black_and_white": black_and_white, "sepia": sepia, "cyanotype": cyanotype, "fade": fade, "invert": invert},
    {"posterize": posterize, "vignette": vignette},
)
"""The order of the pipeline. Values are clipped to 0..1 after every stage, and nowhere else."""


def with_mixes(amounts: Mapping[str, float]) -> dict[str, float]:
    """Add the mix of every look, in its strength, to the amounts; clipped to the range of each adjustment."""
    total = dict(amounts)
    for look in vocabulary().adjustments:
        for name, share in look.mix.items():
            total[name] = total.get(name, 0.0) + amounts.get(look.name, 0.0) * share
    ranges = {adjustment.name: (adjustment.low, adjustment.high) for adjustment in vocabulary().adjustments}
    return {name: float(np.clip(amount, *ranges[name])) for name, amount in total.items()}


def apply(rgb: Image, amounts: Mapping[str, float]) -> Image:
    """Run the whole pipeline on one region: rgb float64 (h, w, 3) in 0..1 -> the same, not rounded.

    Grain is left out (it is noise), as are `remove` and `fill` (they are opacity), what the restoration network does
    and what changes the canvas.
    """
    amounts = with_mixes(amounts)
    for stage in STAGES:
        for name, definition in stage.items():
            if amounts.get(name):
                rgb = definition(rgb, amounts[name])
        rgb = np.clip(rgb, 0.0, 1.0)
    return rgb


def apply_regions(
    rgb: Image, everywhere: Mapping[str, float], subject: Mapping[str, float], background: Mapping[str, float],
    mask: Image,
) -> Image:
    """Blend two runs of the pipeline by a mask (h, w, 1), 1 = subject; amounts of `all` are added to both."""
    rows = []
    for extra in (subject, background):
        total = {name: everywhere.get(name, 0.0) + extra.get(name, 0.0) for name in {*everywhere, *extra}}
        rows.append(apply(rgb, {name: float(np.clip(amount, -1.0, 1.0)) for name, amount in total.items()}))
    return mask * rows[0] + (1.0 - mask) * rows[1]
