"""Checkpoint -> artifact. The only package of nanoedge that may import torch.

A *source* (`sources/`) describes a model's components, a *recipe* (`recipes/`) says how small to make them, a
*target* (`targets/`) writes one file format. `convert.py` drives them, `parity.py` measures what came out.
"""

import edge_runtime  # noqa: F401  # before ONNX Runtime, which reads what it sets
