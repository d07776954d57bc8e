"""Large editing pipelines in diffusers layout: one module each, exposing PIPELINE (see converters/source.py)."""
