/// RGBA bytes, rows from top to bottom, straight alpha, sRGB.
public struct Picture: Equatable, Sendable {
    public let width: Int
    public let height: Int
    public var bytes: [UInt8]

    public init(width: Int, height: Int, bytes: [UInt8]) {
        precondition(width > 0 && height > 0 && bytes.count == 4 * width * height)
        self.width = width
        self.height = height
        self.bytes = bytes
    }

    init(width: Int, height: Int) {
        self.init(width: width, height: height, bytes: [UInt8](repeating: 0, count: 4 * width * height))
    }

    /// The picture of a graph's output, (1, height, width, 4).
    init(_ tensor: Tensor) {
        self.init(width: tensor.shape[2], height: tensor.shape[1], bytes: tensor.bytes)
    }

    var tensor: Tensor { Tensor([1, height, width, 4], .bytes(bytes)) }

    /// One channel of a pixel, 0..255.
    subscript(x: Int, y: Int, channel: Int) -> Int { Int(bytes[4 * (y * width + x) + channel]) }

    /// The part inside a box.
    func cut(_ box: Box) -> Picture {
        if box == Box(top: 0, bottom: height, left: 0, right: width) { return self }
        var result = Picture(width: box.width, height: box.height)
        result.paste(self, box, left: 0, top: 0)
        return result
    }

    /// Put the part `box` of another picture into this one, its corner at left, top.
    mutating func paste(_ other: Picture, _ box: Box, left: Int, top: Int) {
        for row in 0..<box.height {
            let from = 4 * ((box.top + row) * other.width + box.left)
            let target = 4 * ((top + row) * width + left)
            bytes.replaceSubrange(target..<target + 4 * box.width, with: other.bytes[from..<from + 4 * box.width])
        }
    }

    /// Grown to the right and below by repeating the last column and row.
    func padded(width newWidth: Int, height newHeight: Int) -> Picture {
        if newWidth == width && newHeight == height { return self }
        var result = Picture(width: newWidth, height: newHeight)
        for y in 0..<newHeight {
            let row = min(y, height - 1)
            result.paste(self, Box(top: row, bottom: row + 1, left: 0, right: width), left: 0, top: y)
            for x in width..<newWidth {
                result.paste(self, Box(top: row, bottom: row + 1, left: width - 1, right: width), left: x, top: y)
            }
        }
        return result
    }

    /// The first three channels alone.
    var rgb: [UInt8] {
        var result = [UInt8]()
        result.reserveCapacity(3 * width * height)
        for at in stride(from: 0, to: bytes.count, by: 4) { result += bytes[at..<at + 3] }
        return result
    }
}

/// A mask or another plane of floats, rows from top to bottom; masks are 0..1.
public struct Plane: Equatable, Sendable {
    let width: Int
    let height: Int
    var values: [Float]

    init(width: Int, height: Int, values: [Float]) {
        self.width = width
        self.height = height
        self.values = values
    }

    init(width: Int, height: Int) {
        self.init(width: width, height: height, values: [Float](repeating: 0, count: width * height))
    }

    subscript(x: Int, y: Int) -> Float { values[y * width + x] }

    func cut(_ box: Box) -> Plane {
        var result = [Float]()
        for y in box.top..<box.bottom { result += values[y * width + box.left..<y * width + box.right] }
        return Plane(width: box.width, height: box.height, values: result)
    }

    func map(_ change: (Float) -> Float) -> Plane { Plane(width: width, height: height, values: values.map(change)) }

    var tensor: Tensor { Tensor([1, 1, height, width], values) }
}

/// Rows top until bottom, columns left until right.
struct Box: Equatable {
    let top: Int, bottom: Int, left: Int, right: Int

    var width: Int { right - left }
    var height: Int { bottom - top }
}

/// `length` divided by `part`, rounded up.
func parts(_ length: Int, _ part: Int) -> Int { (length + part - 1) / part }
