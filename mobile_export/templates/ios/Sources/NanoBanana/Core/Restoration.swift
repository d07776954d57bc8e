/// Mends a piece whose sides are multiples of the tiles' grid; the hole marks with 1 what must be filled.
typealias Mending = (_ piece: Picture, _ hole: Plane) throws -> Picture

/// Mending pixels with a restoration graph: tile by tile over any size, and inside a marked area.
struct Restoration {
    let sizes: RestorationSizes
    /// Gets the share that is done, 0..1, before each tile; may throw to stop the work.
    let shares: (Double) throws -> Void

    /// Run the graph over a whole picture.
    func mended(_ picture: Picture, _ mending: Mending, hole: Plane? = nil) throws -> Picture {
        var result = picture
        let cover = tiles(
            height: picture.height, width: picture.width, side: sizes.tilePixels, halo: sizes.haloPixels,
            multiple: sizes.multiple)
        for (done, tile) in cover.enumerated() {
            try shares(Double(done) / Double(cover.count))
            let (seen, kept) = (tile.seen, tile.kept)
            let piece = filledBlocks(picture.cut(seen), sizes.multiple)
            let whole = try mending(piece, grown(hole?.cut(seen), to: piece))
            let inside = Box(
                top: kept.top - seen.top, bottom: kept.bottom - seen.top, left: kept.left - seen.left,
                right: kept.right - seen.left)
            result.paste(whole, inside, left: kept.left, top: kept.top)
        }
        return result
    }

    /// Mend the masked area alone, in the box around it. Above 0, `fill` is the opacity with which what the graph puts
    /// in place of the marked pixels covers them; at 0 the graph mends what it sees there.
    func mendedInside(_ picture: Picture, _ mending: Mending, mask: Plane, fill: Double) throws -> Picture {
        let box = try around(mask)
        let piece = picture.cut(box)
        let marked = mask.cut(box)
        let factor = fill > 0 ? max(1, parts(thickness(marked), sizes.holePixels)) : 1
        let hole = marked.map { Double($0) > sizes.marked ? 1 : 0 }
        let (small, smallHole) = factor > 1 ? reduced(piece, hole, factor) : (piece, hole)
        var whole = try mended(small, mending, hole: fill > 0 ? smallHole : nil)
        if factor > 1 { whole = resizedTo(whole, width: piece.width, height: piece.height, alpha: true) }
        // what is marked even by half is replaced, or a rim of the old thing would stay
        let share = fill > 0 ? marked.map { Float(fill * Double(min(max($0 * 2, 0), 1))) } : marked
        var result = picture
        let everything = Box(top: 0, bottom: box.height, left: 0, right: box.width)
        result.paste(blended(piece, whole, share), everything, left: box.left, top: box.top)
        return result
    }

    /// The box of what is marked, with half its longer side around it, or at least `sizes.aroundPixels`.
    private func around(_ mask: Plane) throws -> Box {
        guard let box = marked(mask, above: 0) else { throw NanoBananaError.image("The mask marks nothing.") }
        let more = max(sizes.aroundPixels, max(box.height, box.width) / 2)
        return Box(
            top: max(0, box.top - more), bottom: min(mask.height, box.bottom + more), left: max(0, box.left - more),
            right: min(mask.width, box.right + more))
    }

    /// Picture and hole, smaller by a factor. What any part of is marked is hole; colours come from what is not.
    private func reduced(_ piece: Picture, _ hole: Plane, _ factor: Int) -> (Picture, Plane) {
        var known = piece
        for at in hole.values.indices { known.bytes[4 * at + 3] = hole.values[at] > 0 ? 0 : 255 }
        let (width, height) = (parts(piece.width, factor), parts(piece.height, factor))
        var small = resizedTo(known, width: width, height: height, alpha: true)
        var left = Plane(width: small.width, height: small.height)
        for at in left.values.indices {
            left.values[at] = Int(small.bytes[4 * at + 3]) < sizes.knownAlpha ? 1 : 0
            small.bytes[4 * at + 3] = 255
        }
        return (small, left)
    }
}

/// Repeat the last row and column until both sides are multiples of `multiple`.
func filledBlocks(_ picture: Picture, _ multiple: Int) -> Picture {
    picture.padded(
        width: parts(picture.width, multiple) * multiple, height: parts(picture.height, multiple) * multiple)
}

/// Side of the largest square that is marked all over: of the one that ends at a pixel, from its three neighbours'.
func thickness(_ mask: Plane) -> Int {
    var above = [Int](repeating: 0, count: mask.width + 1)
    var largest = 0
    for y in 0..<mask.height {
        var here = [Int](repeating: 0, count: mask.width + 1)
        for x in 0..<mask.width where mask[x, y] > 0.5 {
            here[x + 1] = 1 + min(above[x], above[x + 1], here[x])
            largest = max(largest, here[x + 1])
        }
        above = here
    }
    return largest
}

/// The hole of a piece that was padded: nothing is marked in what was added, and nothing at all without a hole.
private func grown(_ hole: Plane?, to piece: Picture) -> Plane {
    var result = Plane(width: piece.width, height: piece.height)
    guard let hole else { return result }
    for y in 0..<hole.height {
        for x in 0..<hole.width { result.values[y * piece.width + x] = hole[x, y] }
    }
    return result
}
