"""Which layer of a module a node of its traced graph comes from, for messages that people can act on."""

from __future__ import annotations

from typing import Any, Final

_ROOT: Final = "L['self']"
_WRAPPER: Final = "module"
"""What targets call a component's module in the one that they trace around it."""


def layer_of(node: Any) -> str:
    """Return the path of the innermost module that a node was traced in, such as `down_blocks.0.conv1`."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    inside = path.replace(_ROOT, "").strip(".").removeprefix(_WRAPPER).strip(".")
    return inside or "the module itself"
