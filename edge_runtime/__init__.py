"""Run an artifact: the library and the command. No torch and no training framework, ever."""

import os

# ONNX Runtime 1.32 and later report their use to their maker, and leave files in the user's home, unless this is set
# before they are imported. Nothing leaves this machine unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
