// Resizing with Pillow's own arithmetic, which the networks were trained on: for each new pixel a row of weights,
// 8-bit pixels in fixed point with the rounding of Pillow's Resample.c and Reduce.c, first along rows, then columns.

/// How far a filter looks, in pixels of the smaller picture, and what it weighs at a distance.
enum Filter {
    case box, bilinear, bicubic

    var support: Double {
        switch self {
        case .box: return 0.5
        case .bilinear: return 1
        case .bicubic: return 2
        }
    }

    func weight(_ x: Double) -> Double {
        let distance = abs(x)
        switch self {
        case .box: return x > -0.5 && x <= 0.5 ? 1 : 0
        case .bilinear: return max(1 - distance, 0)
        case .bicubic:
            if distance < 1 { return ((sharpness + 2) * distance - (sharpness + 3)) * distance * distance + 1 }
            if distance < 2 { return (((distance - 5) * distance + 8) * distance - 4) * sharpness }
            return 0
        }
    }
}

private let sharpness = -0.5
private let weightBits = 22
private let reducingGap = 2.0

/// For each new pixel of a line: the first old one, and the weights from there on, as they are and in fixed point.
struct Taps {
    let first: [Int]
    let weights: [[Double]]
    let whole: [[Int]]

    /// Weights that bring 0 until `end` (at most `length`, may be a fraction) of an axis to `size` pixels.
    init(length: Int, end: Double, size: Int, filter: Filter) {
        let scale = end / Double(size)
        let stretch = max(scale, 1)
        let support = filter.support * stretch
        var starts = [Int](), rows = [[Double]]()
        for new in 0..<size {
            let center = (Double(new) + 0.5) * scale
            let start = max(Int(center - support + 0.5), 0)
            let last = min(Int(center + support + 0.5), length)
            let raw = (start..<last).map { filter.weight((Double($0) - center + 0.5) / stretch) }
            let sum = raw.reduce(0, +)
            starts.append(start)
            rows.append(raw.map { $0 / sum })
        }
        first = starts
        weights = rows
        whole = rows.map { row in row.map { Int(($0 * Double(1 << weightBits)).rounded()) } }
    }
}

/// Resize all four channels alike; hidden colours of transparent pixels count, so premultiply before where it matters.
func resized(_ picture: Picture, width: Int, height: Int, filter: Filter) -> Picture {
    resampled(picture, Double(picture.width), Double(picture.height), width, height, filter)
}

/// Bilinear, antialiased, by way of a reduced copy where that is much faster. With `alpha` hidden colours don't bleed;
/// without it the fourth channel isn't read and comes back as 255.
func resizedTo(_ picture: Picture, width: Int, height: Int, alpha: Bool = false) -> Picture {
    let source = alpha ? premultiplied(picture) : picture
    let across = max(Int(Double(source.width) / (Double(width) * reducingGap)), 1)
    let down = max(Int(Double(source.height) / (Double(height) * reducingGap)), 1)
    let small = reduced(source, across, down)
    let (endX, endY) = (Double(source.width) / Double(across), Double(source.height) / Double(down))
    var result = resampled(small, endX, endY, width, height, .bilinear)
    if alpha { return straight(result) }
    for at in stride(from: 3, to: result.bytes.count, by: 4) { result.bytes[at] = 255 }
    return result
}

/// The mean of each block of `across` x `down` pixels; blocks at the edges may be partial.
func reduced(_ picture: Picture, _ across: Int, _ down: Int) -> Picture {
    if across == 1 && down == 1 { return picture }
    var result = Picture(width: parts(picture.width, across), height: parts(picture.height, down))
    for y in 0..<result.height {
        let rows = y * down..<min((y + 1) * down, picture.height)
        for x in 0..<result.width {
            let columns = x * across..<min((x + 1) * across, picture.width)
            let count = rows.count * columns.count
            for channel in 0..<4 {
                var sum = count / 2
                for row in rows { for column in columns { sum += picture[column, row, channel] } }
                result.bytes[4 * (y * result.width + x) + channel] = UInt8((sum * ((1 << 24) / count)) >> 24)
            }
        }
    }
    return result
}

/// Resize floats, without rounding between.
func resized(_ plane: Plane, width: Int, height: Int, filter: Filter) -> Plane {
    var rows = plane
    if width != plane.width {
        rows = Plane(width: width, height: plane.height)
        let taps = Taps(length: plane.width, end: Double(plane.width), size: width, filter: filter)
        for y in 0..<plane.height {
            let from = Line(start: y * plane.width, step: 1)
            sums(plane.values, from, taps, &rows.values, Line(start: y * width, step: 1))
        }
    }
    if height == plane.height { return rows }
    var result = Plane(width: width, height: height)
    let taps = Taps(length: plane.height, end: Double(plane.height), size: height, filter: filter)
    for x in 0..<width {
        sums(rows.values, Line(start: x, step: width), taps, &result.values, Line(start: x, step: width))
    }
    return result
}

/// Colours times alpha, as Pillow's mode RGBa.
func premultiplied(_ picture: Picture) -> Picture {
    changed(picture) { color, alpha in
        let product = color * alpha + 128
        return (product + (product >> 8)) >> 8
    }
}

/// The inverse of `premultiplied`, up to rounding.
func straight(_ picture: Picture) -> Picture {
    changed(picture) { color, alpha in alpha == 0 || alpha == 255 ? color : min(255 * color / alpha, 255) }
}

private func changed(_ picture: Picture, _ change: (Int, Int) -> Int) -> Picture {
    var result = picture
    for at in picture.bytes.indices where at & 3 != 3 {
        result.bytes[at] = UInt8(change(Int(picture.bytes[at]), Int(picture.bytes[at | 3])))
    }
    return result
}

private func resampled(
    _ source: Picture, _ endX: Double, _ endY: Double, _ width: Int, _ height: Int, _ filter: Filter
) -> Picture {
    var rows = source
    if endX != Double(source.width) || width != source.width {
        rows = Picture(width: width, height: source.height)
        let taps = Taps(length: source.width, end: endX, size: width, filter: filter)
        for y in 0..<source.height {
            let from = Line(start: y * source.width, step: 1)
            sums(source.bytes, from, taps, &rows.bytes, Line(start: y * width, step: 1))
        }
    }
    if endY == Double(source.height) && height == source.height { return rows }
    var result = Picture(width: width, height: height)
    let taps = Taps(length: source.height, end: endY, size: height, filter: filter)
    for x in 0..<width {
        sums(rows.bytes, Line(start: x, step: width), taps, &result.bytes, Line(start: x, step: width))
    }
    return result
}

/// Every `step`-th pixel from `start` on.
private struct Line {
    let start: Int
    let step: Int
}

private func sums(_ from: [UInt8], _ source: Line, _ taps: Taps, _ to: inout [UInt8], _ target: Line) {
    for new in taps.first.indices {
        for channel in 0..<4 {
            var sum = 1 << (weightBits - 1)
            var at = 4 * (source.start + taps.first[new] * source.step) + channel
            for weight in taps.whole[new] {
                sum += Int(from[at]) * weight
                at += 4 * source.step
            }
            to[4 * (target.start + new * target.step) + channel] = UInt8(min(max(sum >> weightBits, 0), 255))
        }
    }
}

private func sums(_ from: [Float], _ source: Line, _ taps: Taps, _ to: inout [Float], _ target: Line) {
    for new in taps.first.indices {
        var sum = 0.0
        var at = source.start + taps.first[new] * source.step
        for weight in taps.weights[new] {
            sum += Double(from[at]) * weight
            at += source.step
        }
        to[target.start + new * target.step] = Float(sum)
    }
}
