"""Measures of quality: a file exposes `METRIC` (`converters.bench.metric`); its name is the metric's name."""
