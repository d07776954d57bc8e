"""Measurements, run by hand and by `make bench`. Never imported by the product."""
