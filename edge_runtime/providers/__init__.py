"""Protocols of remote providers, one file each, found by name. See edge_runtime/provider.py."""
