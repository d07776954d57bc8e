import CoreGraphics
import Foundation

private let bitsPerChannel = 8

extension Picture {
    /// The pixels of an image in sRGB with straight alpha. An image has no orientation: turn a UIImage upright before.
    public init(_ image: CGImage) throws {
        var bytes = [UInt8](repeating: 0, count: 4 * image.width * image.height)
        let drawn = bytes.withUnsafeMutableBytes { buffer -> Bool in
            guard
                let space = CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: buffer.baseAddress, width: image.width, height: image.height,
                    bitsPerComponent: bitsPerChannel, bytesPerRow: 4 * image.width, space: space,
                    bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
            else { return false }
            context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return true
        }
        if !drawn || bytes.isEmpty { throw NanoBananaError.image("The image's pixels can't be read.") }
        self = straight(Picture(width: image.width, height: image.height, bytes: bytes))
    }

    /// A new image in sRGB.
    public func image() throws -> CGImage {
        guard
            let space = CGColorSpace(name: CGColorSpace.sRGB),
            let provider = CGDataProvider(data: Data(bytes) as CFData),
            let image = CGImage(
                width: width, height: height, bitsPerComponent: bitsPerChannel, bitsPerPixel: 4 * bitsPerChannel,
                bytesPerRow: 4 * width, space: space,
                bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue), provider: provider, decode: nil,
                shouldInterpolate: true, intent: .defaultIntent)
        else { throw NanoBananaError.image("The edited pixels can't be made an image.") }
        return image
    }
}
