"""Models that can be converted: one file each, exposing `SOURCE`. Discovery is by file name."""
