/// A mask for a photo of width x height, 1 where the edit belongs. A picture with transparent pixels marks by
/// transparency, another one by white. Throws NanoBananaError.image for other proportions, or if it marks nothing.
public func maskOf(_ picture: Picture, width: Int, height: Int, limits: MaskLimits) throws -> Plane {
    let across = picture.width * height
    let down = picture.height * width
    if Double(abs(across - down)) > Double(max(across, down)) * limits.proportionsTolerance {
        throw NanoBananaError.image(
            "The mask has other proportions than the photo. Got: \(picture.width) x \(picture.height). "
                + "Allowed: \(width) x \(height).")
    }
    let scaled = resized(gray(picture), width: width, height: height, filter: .bilinear)
    let values = (0..<width * height).map { Float(scaled.bytes[4 * $0]) }
    if Double(values.max() ?? 0) < limits.leastMarked {
        throw NanoBananaError.image("The mask marks nothing. Make the area to edit transparent, or white on black.")
    }
    return Plane(width: width, height: height, values: values.map { $0 / 255 })
}

/// What marks, 0..255, in all four channels.
private func gray(_ picture: Picture) -> Picture {
    let transparent = stride(from: 3, to: picture.bytes.count, by: 4).contains { picture.bytes[$0] != 255 }
    var result = picture
    for y in 0..<picture.height {
        for x in 0..<picture.width {
            let marked = UInt8(transparent ? 255 - picture[x, y, 3] : luma(picture, x, y))
            for channel in 0..<4 { result.bytes[4 * (y * picture.width + x) + channel] = marked }
        }
    }
    return result
}

/// ITU-R 601 in fixed point, as Pillow's mode L.
private func luma(_ picture: Picture, _ x: Int, _ y: Int) -> Int {
    (picture[x, y, 0] * 19595 + picture[x, y, 1] * 38470 + picture[x, y, 2] * 7471 + 0x8000) >> 16
}
