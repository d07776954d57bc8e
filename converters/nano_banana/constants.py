"""Numbers of the renderer, each with its source. Shared by the graphs and by the float64 definitions."""

LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709 luma of the encoded values (ITU-R BT.709-6)."""

SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))
"""The customary sepia matrix, as in Microsoft's and the W3C's examples."""

SPLIT_HIGHLIGHTS = (1.0, 0.3, -0.9)
SPLIT_SHADOWS = (-1.0, 0.25, 0.6)
"""Directions of `teal_orange` in RGB: orange in the highlights, teal in the shadows."""

SHADOW_GAIN, HIGHLIGHT_GAIN = (0.22, 0.14), (0.14, 0.22)
"""Peak shift (upwards, downwards); the largest that keep the curve monotonic."""

GUIDE_RADIUS = 4
"""Window radius of the guided filter in pixels of the 384 px copy, about 1 % of the long side."""

GUIDE_EPSILON = 1e-3
"""Regulariser of the guided filter: colour variance below this counts as flat."""

MASK_GAIN = 1.8
"""Slope at which probabilities of the vision network become opacity; by eye, on cut-outs."""

GRAIN_TILE = 256
"""Side of the noise tile in pixels."""
