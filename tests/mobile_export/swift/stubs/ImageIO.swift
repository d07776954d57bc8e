// Decoding of pictures, done by whoever is at the other end of the standard streams.
import CoreGraphics
import Foundation
import Wire

public typealias CFURL = URL

public final class CGImageSource {
    let url: URL
    init(_ url: URL) { self.url = url }
}

public func CGImageSourceCreateWithURL(_ url: CFURL, _ options: [String: Any]?) -> CGImageSource? { CGImageSource(url) }

public func CGImageSourceCreateImageAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: [String: Any]?
) -> CGImage? {
    let question = Message(["decode"], ["path": Numbers(text: source.url.path)])
    guard let found = Conversation.standard.ask(question).tensors["picture"] else { return nil }
    let (height, width) = (found.shape[0], found.shape[1])
    return CGImage(
        width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: 4 * width,
        space: CGColorSpace(name: CGColorSpace.sRGB)!,
        bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue), provider: CGDataProvider(data: found.data)!,
        decode: nil, shouldInterpolate: true, intent: .defaultIntent)
}
