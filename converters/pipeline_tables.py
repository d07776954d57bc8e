"""Tables for people: what a pipeline's conversion will take, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.pipeline import PipelineConversion
from converters.streaming import LayerRecord
from edge_runtime.diffusion.components import ABSENT
from edge_runtime.progress import duration


def plan_table(described: dict[str, Any]) -> str:
    """Return one line a component of the forecast, and the sums."""
    parts = described["components"]
    rows = [("component", "parameters", "precision", "bytes out", "peak memory", "time")]
    for part in parts:
        rows.append((
            part["name"], f"{part['parameters'] / 1e6:,.1f} M", part["precision"], f"{part['bytes'] / 1e6:,.0f} MB",
            f"{part['peak_bytes'] / 1e9:.1f} GB", duration(part["seconds"]),
        ))  # fmt: skip
    rows.append((
        "total", f"{sum(part['parameters'] for part in parts) / 1e6:,.1f} M", "",
        f"{sum(part['bytes'] for part in parts) / 1e6:,.0f} MB",
        f"{max(part['peak_bytes'] for part in parts) / 1e9:.1f} GB", duration(sum(part["seconds"] for part in parts)),
    ))  # fmt: skip
    head = f"{described['name']}, family {described['family']}; licence: {described['provenance']['licence']}"
    return "\n".join([head, *aligned(rows), "Peak memory is private; time is without the comparison with torch."])


def conversion_table(conversion: PipelineConversion) -> str:
    """Return one line a component: precision, bytes, figures, memory; promoted layers and the version below."""
    rows = [("component", "precision", "bytes", "peak memory", "against the checkpoint")]
    manifest = conversion.artifact.manifest
    notes = []
    for component in manifest.components:
        quality = conversion.quality.get(component.name)
        if quality is None:
            rows.append((component.name, component.precision, f"{component.total_bytes:,}", "", ""))
            continue
        figures = [
            f"{name.removesuffix('.snr_db')} {value:.1f} dB"
            for name, value in quality.items()
            if name.endswith("snr_db")
        ]
        peak = conversion.peak_bytes[component.name]
        rows.append((
            component.name, component.precision, f"{component.total_bytes:,}",
            f"{peak / 1e6:,.0f} MB" if peak else "earlier run", ", ".join(figures) or "not measured",
        ))  # fmt: skip
        notes += [f"{component.name}: {component.note}"] if component.note else []
    total = sum(component.total_bytes for component in manifest.components)
    last = f"{conversion.artifact.folder}: {total:,} bytes, version {conversion.artifact.version}"
    absent = ", ".join(manifest.settings.get(ABSENT, ()))
    notes += [f"not in this artifact: {absent}; they are written with --to onnx alone"] if absent else []
    return "\n".join([*aligned(rows), *notes, last])


def layers_table(layers: Sequence[LayerRecord]) -> str:
    """Return one line a precision: tensors, their values, the lowest signal to noise, how many were promoted to it."""
    rows = [("precision", "tensors", "values", "lowest dB", "promoted")]
    for precision in sorted({layer.precision for layer in layers}):
        some = [layer for layer in layers if layer.precision == precision]
        lowest = "exact" if precision == "fp32" else f"{min(layer.snr_db for layer in some):.1f}"
        rows.append((
            precision, f"{len(some):,}", f"{sum(layer.values for layer in some) / 1e6:,.1f} M", lowest,
            f"{sum(layer.promoted for layer in some):,}",
        ))  # fmt: skip
    return "\n".join(aligned(rows))


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the rows with columns of one width: names to the left, all else to the right but the last."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if 1 < place < len(row) - 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
