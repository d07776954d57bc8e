"""Where models are pulled from, one file each, named after the scheme of its addresses; each exposes `SOURCE`."""
