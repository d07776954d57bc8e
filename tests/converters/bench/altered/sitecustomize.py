"""Puts the family of this folder beside the project's own in every Python that is started with it on PYTHONPATH."""

from pathlib import Path

import edge_runtime.families

edge_runtime.families.__path__.append(str(Path(__file__).with_name("families")))
