import CoreML
import Foundation

/// The artifact's graphs on Core ML. Not for several threads at once: its actor sees to that.
final class CoreMLGraphs: Graphs {
    private let manifest: Manifest
    private let folder: URL
    private let units: MLComputeUnits
    private var models = [String: MLModel]()

    init(_ manifest: Manifest, folder: URL, units: MLComputeUnits) {
        self.manifest = manifest
        self.folder = folder
        self.units = units
    }

    func run(_ name: String, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
        let component = try manifest.component(name)
        let model = try opened(component)
        let found: any MLFeatureProvider
        do {
            let features = try MLDictionaryFeatureProvider(dictionary: inputs.mapValues(feature))
            found = try model.prediction(from: features)
        } catch {
            throw NanoBananaError.engine("The graph \(name) could not be run: \(error.localizedDescription)")
        }
        var outputs = [String: Tensor]()
        for spec in component.outputs { outputs[spec.name] = try tensor(found.featureValue(for: spec.name), spec) }
        return outputs
    }

    private func opened(_ component: Component) throws -> MLModel {
        if let model = models[component.name] { return model }
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        do {
            let model = try MLModel(contentsOf: compiled(component), configuration: configuration)
            models[component.name] = model
            return model
        } catch {
            throw NanoBananaError.artifact("The graph \(component.name) can't be opened: \(error.localizedDescription)")
        }
    }

    /// The package that the component's file lies in.
    private func package(_ component: Component) -> URL {
        let path = component.file.split(separator: "/", omittingEmptySubsequences: false)
        let end = path.firstIndex { $0.hasSuffix(".mlpackage") } ?? path.endIndex - 1
        return folder.appendingPathComponent(path[...end].joined(separator: "/"))
    }

    /// The compiled model: beside the package if the app's build compiled it, else from the caches, else compiled now.
    private func compiled(_ component: Component) throws -> URL {
        let package = package(component)
        let files = FileManager.default
        let beside = package.deletingPathExtension().appendingPathExtension("mlmodelc")
        if files.fileExists(atPath: beside.path) { return beside }
        let caches = try files.url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            .appendingPathComponent("nano-banana")
        let kept = caches.appendingPathComponent(component.identity + ".mlmodelc")
        if files.fileExists(atPath: kept.path) { return kept }
        try files.createDirectory(at: caches, withIntermediateDirectories: true)
        let fresh = try MLModel.compileModel(at: package)
        do {
            try files.moveItem(at: fresh, to: kept)
        } catch where files.fileExists(atPath: kept.path) {
            // another editor of this app compiled it meanwhile
            try files.removeItem(at: fresh)
        }
        return kept
    }
}

/// Core ML's arrays hold no bytes: those travel as floats with whole numbers.
private func feature(_ tensor: Tensor) -> MLFeatureValue {
    switch tensor.values {
    case .ints(let ints): return MLFeatureValue(shapedArray: MLShapedArray<Int32>(scalars: ints, shape: tensor.shape))
    case .bytes, .floats:
        return MLFeatureValue(shapedArray: MLShapedArray<Float>(scalars: tensor.floats, shape: tensor.shape))
    }
}

private func tensor(_ value: MLFeatureValue?, _ spec: TensorSpec) throws -> Tensor {
    guard let array = value?.multiArrayValue else {
        throw NanoBananaError.engine("A graph gave no output \(spec.name).")
    }
    let floats = MLShapedArray<Float>(converting: array)
    return Tensor(floats.shape, floats.scalars).converted(to: spec.dtype)
}
