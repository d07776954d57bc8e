"""Numbers of the renderer, each with its source. Shared by the graphs and by the float64 definitions."""

LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709 luma of the encoded values (ITU-R BT.709-6)."""

SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))
"""The customary sepia matrix, as in Microsoft's and the W3C's examples."""

CYANOTYPE_DARK = (-0.25, 0.12, 0.33)
CYANOTYPE_LIGHT = (0.93, 0.98, 1.0)
"""Colours of luma 0 and 1. Red starts below 0, so that it stays away until the quarter tones: Prussian blue."""

SPLIT_HIGHLIGHTS = (1.0, 0.3, -0.9)
SPLIT_SHADOWS = (-1.0, 0.25, 0.6)
"""Directions of `teal_orange` in RGB: orange in the highlights, teal in the shadows."""

SHADOW_GAIN, HIGHLIGHT_GAIN = (0.22, 0.14), (0.14, 0.22)
"""Peak shift (upwards, downwards); the largest that keep the curve monotonic."""

HUE_RANGES = {
    "reds": (0.0, 60.0),
    "yellows": (60.0, 50.0),
    "greens": (120.0, 70.0),
    "blues": (230.0, 75.0),
    "purples": (300.0, 55.0),
}
"""Centre and half-width of every hue range in degrees: grass lies at 80 to 100, sky at 200 to 220, skin at 20 to 30."""

FINE_SHARE, WIDE_SHARE = 0.003, 0.02
"""Sigma of the two blurs of `Context` as shares of the long side, when no adjustment widens the fine one."""

BLUR_SHARE, TILT_SHARE, SKETCH_SHARE = 0.022, 0.004, 0.007
"""What full `blur`, `tilt_shift` and `sketch` add to the sigma of the fine blur."""

TILT_BAND, TILT_REACH = 0.25, 0.6
"""Half of the sharp band and the way to full blur, as shares of half the height."""

HDR_LOCAL, HDR_COMPRESSION = 0.8, 0.25
"""Local contrast that full `hdr` adds, and share of the large-scale contrast that it takes away."""

SKIN_EVENING, SKIN_CONTRAST = 0.9, 0.08
"""Share of a blotch that full `skin_smooth` takes away, and the contrast (of 1) above which it is a feature: what
differs by more than that from its surroundings is a nostril or a fold."""

SKETCH_STRENGTH, SKETCH_FLOOR = 2.2, 0.04
"""Gain of the pencil lines, and what is added to both lumas so that noise in black stays paper."""

GUIDE_RADIUS = 4
"""Window radius of the guided filter in pixels of the 256 px copy, about 1.5 % of the long side."""

GUIDE_EPSILON = 1e-3
"""Regulariser of the guided filter: colour variance below this counts as flat."""

EDGE_REACH = 2
"""Pixels of the 256 px copy around the mask's edges in which the guided filter decides: farther, it leaves wisps of the
ground. `python -m benchmarks.cut_outs` compares artifacts."""

MASK_GAIN = 3.0
"""Slope at which probabilities of the vision network become opacity: by eye, on cut-outs of held-out photographs. At
1.8 half-transparent smears covered 1.3 to 1.7 times as much, and the opacity's mean error was 1 to 6 % larger."""

GRAIN_TILE = 256
"""Side of the noise tile in pixels."""

COLORS_SHARE = 0.0175
"""Sigma of the means of foreground and background colours, as a share of the long side."""
