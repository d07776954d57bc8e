"""Puts batch normalisation into the convolution before it: in evaluation mode the two are one convolution."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def with_fused_norms(module: nn.Module) -> nn.Module:
    """Return the module, changed: in every sequence a convolution takes up the normalisation behind it.

    Parameters keep their names, so that a plan made before still fits. The module must be in evaluation mode.
    """
    for sequence in module.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for place in range(len(sequence) - 1):
            convolution, norm = sequence[place], sequence[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[place] = fuse_conv_bn_eval(convolution, norm)
                sequence[place + 1] = nn.Identity()
    return module
