// What happens to a whole picture at once and is no graph: turning, mirroring, cropping, borders, blocks, enlarging,
// blending. Amounts mean what the vocabulary says. Masks of any size cover the whole picture.

/// Turn clockwise by `amount` half turns, -1..1, rounded to quarter turns.
func turned(_ picture: Picture, _ amount: Double) -> Picture {
    let (width, height) = (picture.width, picture.height)
    switch (Int((2 * amount).rounded(.toNearestOrEven)) + 4) % 4 {
    case 1: return moved(picture, width: height, height: width) { x, y in (y, height - 1 - x) }
    case 2: return moved(picture, width: width, height: height) { x, y in (width - 1 - x, height - 1 - y) }
    case 3: return moved(picture, width: height, height: width) { x, y in (width - 1 - y, x) }
    default: return picture
    }
}

func mirrored(_ picture: Picture, horizontal: Bool) -> Picture {
    moved(picture, width: picture.width, height: picture.height) { x, y in
        horizontal ? (picture.width - 1 - x, y) : (x, picture.height - 1 - y)
    }
}

/// Cut `amount`/2 of the width and of the height away, half of it on each side; at least one pixel is left.
func croppedMiddle(_ picture: Picture, _ amount: Double) -> Picture {
    let rows = min(Int(Double(picture.height) * amount / 4), (picture.height - 1) / 2)
    let columns = min(Int(Double(picture.width) * amount / 4), (picture.width - 1) / 2)
    return picture.cut(
        Box(top: rows, bottom: picture.height - rows, left: columns, right: picture.width - columns))
}

/// Cut to the box around a mask, with a margin of `margin` * (1 - amount) of its sides; nil for an empty mask.
func croppedAround(_ picture: Picture, _ mask: Plane, _ amount: Double, margin: Double) -> Picture? {
    guard let box = marked(mask, above: 0.5) else { return nil }
    func bounds(_ first: Int, _ last: Int, of length: Int, side: Int) -> Range<Int> {
        let start = Double(first) / Double(length)
        let end = Double(last) / Double(length)
        let around = margin * (1 - amount) * (end - start)
        return Int(max(0, start - around) * Double(side))..<Int((min(1, end + around) * Double(side)).rounded(.up))
    }
    let columns = bounds(box.left, box.right, of: mask.width, side: picture.width)
    let rows = bounds(box.top, box.bottom, of: mask.height, side: picture.height)
    return picture.cut(
        Box(top: rows.lowerBound, bottom: rows.upperBound, left: columns.lowerBound, right: columns.upperBound))
}

/// Paint a border over the edge, `width` of the short side wide at amount 1.
func framed(_ picture: Picture, _ amount: Double, width: Double, color: [UInt8]) -> Picture {
    var result = picture
    let side = Double(min(picture.width, picture.height))
    let border = max(1, Int((width * amount * side).rounded(.toNearestOrEven)))
    for y in 0..<picture.height {
        for x in 0..<picture.width {
            let edge = min(x, y, picture.width - 1 - x, picture.height - 1 - y)
            if edge >= border { continue }
            for channel in 0..<4 { result.bytes[4 * (y * picture.width + x) + channel] = (color + [255])[channel] }
        }
    }
    return result
}

/// Square blocks of one colour and `block` pixels; with a mask only blocks that it covers by more than `covered`.
func pixelated(_ picture: Picture, block: Int, mask: Plane?, covered: Double) -> Picture {
    let across = parts(picture.width, block)
    let down = parts(picture.height, block)
    let padded = premultiplied(picture.padded(width: across * block, height: down * block))
    let coarse = straight(resized(padded, width: across, height: down, filter: .box))
    let chosen = mask.map { resized($0, width: across, height: down, filter: .box) }
    var result = picture
    for y in 0..<picture.height {
        for x in 0..<picture.width {
            let (column, row) = (x / block, y / block)
            if let chosen, Double(chosen[column, row]) <= covered { continue }
            for channel in 0..<4 {
                result.bytes[4 * (y * picture.width + x) + channel] = UInt8(coarse[column, row, channel])
            }
        }
    }
    return result
}

/// What `upscale` does to both sides, before `restore` sharpens the result.
let enlargement = 2

/// Bicubic enlargement.
func enlarged(_ picture: Picture) -> Picture {
    let (width, height) = (enlargement * picture.width, enlargement * picture.height)
    return straight(resized(premultiplied(picture), width: width, height: height, filter: .bicubic))
}

/// `above` where the mask is 1, `below` where it is 0; a mask of another size is enlarged smoothly.
func blended(_ below: Picture, _ above: Picture, _ mask: Plane) -> Picture {
    let shares = resized(mask, width: below.width, height: below.height, filter: .bilinear).values
    var result = below
    for at in result.bytes.indices {
        let share = shares[at >> 2]
        let mixed = Float(below.bytes[at]) * (1 - share) + Float(above.bytes[at]) * share
        result.bytes[at] = UInt8((mixed + 0.5).rounded(.down))
    }
    return result
}

/// The box around all that is more than `least`, or nil.
func marked(_ mask: Plane, above least: Float) -> Box? {
    let rows = (0..<mask.height).filter { y in (0..<mask.width).contains { mask[$0, y] > least } }
    let columns = (0..<mask.width).filter { x in (0..<mask.height).contains { mask[x, $0] > least } }
    guard let top = rows.first, let bottom = rows.last, let left = columns.first, let right = columns.last else {
        return nil
    }
    return Box(top: top, bottom: bottom + 1, left: left, right: right + 1)
}

/// A picture whose pixel (x, y) is the old one's at `source(x, y)`.
private func moved(
    _ picture: Picture, width: Int, height: Int, _ source: (Int, Int) -> (Int, Int)
) -> Picture {
    var result = Picture(width: width, height: height)
    for y in 0..<height {
        for x in 0..<width {
            let (fromX, fromY) = source(x, y)
            let from = 4 * (fromY * picture.width + fromX)
            for channel in 0..<4 { result.bytes[4 * (y * width + x) + channel] = picture.bytes[from + channel] }
        }
    }
    return result
}
