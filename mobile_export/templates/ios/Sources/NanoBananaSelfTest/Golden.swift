import CoreGraphics
import Foundation
import ImageIO
import NanoBanana

/// The bundle's golden vectors: inputs and what the artifact makes of them.
public struct Golden: Decodable, Sendable {
    /// One edit of the golden photo, and the file of the picture that should come out.
    public struct GoldenEdit: Decodable, Sendable {
        public let name: String
        public let instruction: String
        public let masked: Bool
        public let file: String
        /// What Core ML's picture must agree with, in decibels: the golden one was made by another format.
        public let otherFormatPsnrDb: Double
        let plan: GoldenPlan
    }

    struct GoldenPlan: Decodable, Sendable {
        struct Entry: Decodable, Sendable {
            let adjust: String
            let amount: Double
            let region: String
            let color: String?
        }

        let edits: [Entry]
    }

    /// One run of a graph.
    struct Run: Decodable, Sendable {
        let component: String
        let inputs: [File]
        let outputs: [File]
    }

    struct File: Decodable, Sendable {
        let name: String
        let dtype: DType
        let shape: [Int]
        let file: String
    }

    public let photo: String
    public let mask: String
    /// What an edit by the recorded runs must agree with, in decibels.
    public let leastPsnrDb: Double
    public let edits: [GoldenEdit]
    let graphs: [Run]

    static var folder: URL { Bundle.module.bundleURL.appendingPathComponent("golden") }

    /// Read golden.json.
    public static func read() throws -> Golden {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Golden.self, from: Data(contentsOf: folder.appendingPathComponent("golden.json")))
    }

    /// One of the pictures.
    public static func image(_ name: String) throws -> CGImage {
        let url = folder.appendingPathComponent(name)
        guard
            let source = CGImageSourceCreateWithURL(url as CFURL, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw NanoBananaError.image("The golden picture \(name) can't be read.") }
        return image
    }
}

extension Golden.GoldenEdit {
    /// What the words should mean.
    public var expected: Plan {
        Plan(edits: plan.edits.map { Edit(adjust: $0.adjust, amount: $0.amount, region: $0.region, color: $0.color) })
    }
}

extension Golden.File {
    func tensor() throws -> Tensor {
        let data = try Data(contentsOf: Golden.folder.appendingPathComponent(file))
        switch dtype {
        case .uint8: return Tensor(shape, .bytes([UInt8](data)))
        case .int32: return Tensor(shape, .ints(numbers(data)))
        case .float16, .float32: return Tensor(shape, .floats(numbers(data)))
        }
    }
}

private func numbers<Number>(_ data: Data) -> [Number] {
    data.withUnsafeBytes { Array($0.bindMemory(to: Number.self)) }
}

/// Decibels between two pictures; 0 for other sizes.
public func psnr(_ one: Picture, _ other: Picture) -> Double {
    if one.width != other.width || one.height != other.height { return 0 }
    let squares = zip(one.bytes, other.bytes).reduce(0) { sum, pair in
        sum + (Int(pair.0) - Int(pair.1)) * (Int(pair.0) - Int(pair.1))
    }
    return squares == 0 ? .infinity : 10 * log10(255 * 255 * Double(one.bytes.count) / Double(squares))
}
