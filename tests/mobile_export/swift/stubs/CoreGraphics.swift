// What the bundle uses of Core Graphics: pixels of four bytes, with premultiplied alpha in contexts.
import Foundation

public typealias CFData = Data
public typealias CGRect = Foundation.CGRect

public final class CGColorSpace {
    public static let sRGB = "kCGColorSpaceSRGB"
    public init?(name: String) {}
}

public struct CGBitmapInfo {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

public enum CGImageAlphaInfo: UInt32 {
    case none, premultipliedLast, premultipliedFirst, last
}

public enum CGColorRenderingIntent {
    case defaultIntent
}

public final class CGDataProvider {
    let data: Data
    public init?(data: CFData) { self.data = data }
}

public final class CGImage {
    public let width: Int
    public let height: Int
    let bytes: [UInt8]

    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int, space: CGColorSpace,
        bitmapInfo: CGBitmapInfo, provider: CGDataProvider, decode: UnsafePointer<Double>?, shouldInterpolate: Bool,
        intent: CGColorRenderingIntent
    ) {
        guard bitmapInfo.rawValue == CGImageAlphaInfo.last.rawValue, provider.data.count == bytesPerRow * height else {
            return nil
        }
        self.width = width
        self.height = height
        bytes = [UInt8](provider.data)
    }
}

public final class CGContext {
    private let buffer: UnsafeMutableRawPointer

    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) {
        guard let data, bitmapInfo == CGImageAlphaInfo.premultipliedLast.rawValue else { return nil }
        buffer = data
    }

    public func draw(_ image: CGImage, in rectangle: CGRect) {
        for (at, byte) in image.bytes.enumerated() {
            let alpha = at & 3 == 3 ? 255 : Int(image.bytes[at | 3])
            buffer.storeBytes(of: UInt8((Int(byte) * alpha + 127) / 255), toByteOffset: at, as: UInt8.self)
        }
    }
}
