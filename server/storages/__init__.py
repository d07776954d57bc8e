"""Places for results, one file each, named after the scheme of its addresses; each exposes `STORAGE`."""
