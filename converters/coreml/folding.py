"""Makes batch normalisation part of the convolution before it, so that weights keep the names of their parameters.

coremltools does the same later, but on constants of its own naming, which no plan of layers would find.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold, in place, in every Sequential of a module in evaluation mode; return the module."""
    for sequence in [each for each in module.modules() if isinstance(each, nn.Sequential)]:
        for place in range(len(sequence) - 1):
            convolution, norm = sequence[place], sequence[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[place] = fuse_conv_bn_eval(convolution, norm)
                sequence[place + 1] = nn.Identity()
    return module
