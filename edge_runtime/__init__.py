"""Run an artifact: the library and the command. No torch and no training framework, ever."""

__version__ = "0.1.0"
