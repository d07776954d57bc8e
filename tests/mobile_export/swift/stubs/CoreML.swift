// What the bundle uses of Core ML, with the graphs run by whoever is at the other end of the standard streams.
import Foundation
import Wire

public enum MLComputeUnits: Sendable {
    case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine
}

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public init() {}
}

public protocol MLShapedArrayScalar {
    static var dtype: String { get }
}

extension Float: MLShapedArrayScalar {
    public static var dtype: String { "float32" }
}

extension Int32: MLShapedArrayScalar {
    public static var dtype: String { "int32" }
}

public struct MLMultiArray {
    let numbers: Numbers
}

public struct MLShapedArray<Scalar: MLShapedArrayScalar> {
    public let shape: [Int]
    public let scalars: [Scalar]

    public init<S: Sequence>(scalars: S, shape: [Int]) where S.Element == Scalar {
        self.scalars = Array(scalars)
        self.shape = shape
        precondition(self.scalars.count == shape.reduce(1, *))
    }
}

extension MLShapedArray where Scalar == Float {
    public init(converting array: MLMultiArray) {
        if array.numbers.dtype == "int32" {
            let ints: [Int32] = array.numbers.numbers()
            self.init(scalars: ints.map(Float.init), shape: array.numbers.shape)
        } else {
            self.init(scalars: array.numbers.numbers() as [Float], shape: array.numbers.shape)
        }
    }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?

    public init<Scalar: MLShapedArrayScalar>(shapedArray: MLShapedArray<Scalar>) {
        multiArrayValue = MLMultiArray(numbers: Numbers(Scalar.dtype, shapedArray.shape, numbers: shapedArray.scalars))
    }

    init(_ numbers: Numbers) { multiArrayValue = MLMultiArray(numbers: numbers) }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for name: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    private let values: [String: MLFeatureValue]

    public init(dictionary: [String: Any]) throws { values = dictionary.mapValues { $0 as! MLFeatureValue } }

    public var featureNames: Set<String> { Set(values.keys) }

    public func featureValue(for name: String) -> MLFeatureValue? { values[name] }
}

struct Refused: LocalizedError {
    let errorDescription: String?
}

public final class MLModel {
    private let package: String

    /// A folder that says which package it was made of.
    public static func compileModel(at url: URL) throws -> URL {
        guard FileManager.default.fileExists(atPath: url.path) else { throw Refused(errorDescription: "no package") }
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString + ".mlmodelc")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try url.path.write(to: folder.appendingPathComponent("package"), atomically: true, encoding: .utf8)
        return folder
    }

    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        package = try String(contentsOf: url.appendingPathComponent("package"), encoding: .utf8)
    }

    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
        var tensors = ["package": Numbers(text: package)]
        for name in input.featureNames { tensors[name] = input.featureValue(for: name)!.multiArrayValue!.numbers }
        let answer = Conversation.standard.ask(Message(["predict"], tensors))
        if let message = answer.tensors["message"] { throw Refused(errorDescription: message.text) }
        return try MLDictionaryFeatureProvider(dictionary: answer.tensors.mapValues { MLFeatureValue($0) })
    }
}
