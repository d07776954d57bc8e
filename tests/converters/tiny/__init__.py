"""Tiny random checkpoints, one module a family, built with diffusers' and transformers' own classes."""
