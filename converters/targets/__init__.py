"""File formats that can be written: one file each, exposing `TARGET`. Discovery is by file name."""
