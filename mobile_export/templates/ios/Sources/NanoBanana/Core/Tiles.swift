/// One piece of a picture: what a graph looks at, and the part of the result that is used.
struct Tile: Equatable {
    let seen: Box
    let kept: Box
}

/// Cover a picture with tiles that see at most `side` pixels, `halo` of them beyond what is kept. Tiles begin at
/// multiples of `multiple`, so that a network with strides sees the same grid in all of them.
func tiles(height: Int, width: Int, side: Int, halo: Int, multiple: Int) -> [Tile] {
    spans(height, side, halo, multiple).flatMap { rows in
        spans(width, side, halo, multiple).map { columns in
            let seen = Box(
                top: max(0, rows.lowerBound - halo), bottom: min(height, rows.upperBound + halo),
                left: max(0, columns.lowerBound - halo), right: min(width, columns.upperBound + halo))
            let kept = Box(
                top: rows.lowerBound, bottom: rows.upperBound, left: columns.lowerBound, right: columns.upperBound)
            return Tile(seen: seen, kept: kept)
        }
    }
}

/// Cut rows into equal strips of about `pixels` pixels; inner borders are multiples of `multiple`.
func strips(height: Int, width: Int, pixels: Int, multiple: Int) -> [Range<Int>] {
    let count = parts(height * width, pixels)
    return equal(height, max(1, parts(height, count * multiple)) * multiple)
}

private func spans(_ length: Int, _ side: Int, _ halo: Int, _ multiple: Int) -> [Range<Int>] {
    if length <= side { return [0..<length] }
    return equal(length, parts(length, parts(length, side - 2 * halo) * multiple) * multiple)
}

private func equal(_ length: Int, _ step: Int) -> [Range<Int>] {
    stride(from: 0, to: length, by: step).map { $0..<min($0 + step, length) }
}
