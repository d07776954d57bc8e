/// What a graph's tensor holds, as the manifest spells it.
public enum DType: String, Decodable, Sendable {
    case uint8, int32, float16, float32
}

/// Numbers with a shape, the last axis fastest.
public struct Tensor: Sendable {
    public enum Values: Sendable {
        case bytes([UInt8])
        case ints([Int32])
        case floats([Float])
    }

    public let shape: [Int]
    public let values: Values

    public init(_ shape: [Int], _ values: Values) {
        self.shape = shape
        self.values = values
    }

    init(_ shape: [Int], _ floats: [Float]) { self.init(shape, .floats(floats)) }

    /// The same numbers as floats.
    public var floats: [Float] {
        switch values {
        case .bytes(let bytes): return bytes.map(Float.init)
        case .ints(let ints): return ints.map(Float.init)
        case .floats(let floats): return floats
        }
    }

    /// The same numbers as bytes, rounded and kept within 0..255.
    public var bytes: [UInt8] {
        if case .bytes(let bytes) = values { return bytes }
        return floats.map { UInt8(min(max(($0 + 0.5).rounded(.down), 0), 255)) }
    }

    /// The same numbers as another type; float16 are Swift floats, which whoever runs the graph rounds.
    public func converted(to dtype: DType) -> Tensor {
        switch (dtype, values) {
        case (.uint8, _): return Tensor(shape, .bytes(bytes))
        case (.int32, .ints): return self
        case (.int32, _): return Tensor(shape, .ints(floats.map { Int32($0) }))
        case (.float16, _), (.float32, _): return Tensor(shape, .floats(floats))
        }
    }
}

/// The artifact's graphs, whatever runs them.
public protocol Graphs {
    /// Run the graph `name` once; inputs and outputs go by the names in the manifest.
    func run(_ name: String, _ inputs: [String: Tensor]) throws -> [String: Tensor]
}
