import CoreGraphics
import CoreML
import Foundation

/// The edited photo, what was done, and sentences for the user about what is missing or may disappoint.
public struct Outcome: @unchecked Sendable {  // a CGImage never changes
    public let image: CGImage
    public let plan: Plan
    public let notes: [String]
}

/// The editor: `try await NanoBanana().edit(image: photo, instruction: "make it warmer")`.
///
/// An actor: it works away from the main thread, one edit at a time. It throws NanoBananaError with a sentence for the
/// user, and CancellationError soon after its task was cancelled: before the next graph or tile. Graphs are compiled
/// and opened when first needed, and kept.
public actor NanoBanana {
    /// Gets each step before it is done, away from the main thread.
    public typealias Progress = @Sendable (Step) -> Void

    private let manifest: Manifest
    private let graphs: CoreMLGraphs

    /// Open the model in this package. Quick: graphs are read when first needed. `units` chooses the processors.
    public init(units: MLComputeUnits = .all) throws {
        try self.init(folder: Self.modelFolder, units: units)
    }

    /// Open a model elsewhere, for instance one that was downloaded: the folder that holds manifest.json.
    public init(folder: URL, units: MLComputeUnits = .all) throws {
        guard let data = try? Data(contentsOf: folder.appendingPathComponent("manifest.json")) else {
            throw NanoBananaError.artifact("There is no model in \(folder.lastPathComponent).")
        }
        manifest = try Manifest.parse(data)
        graphs = CoreMLGraphs(manifest, folder: folder, units: units)
    }

    static var modelFolder: URL { Bundle.module.bundleURL.appendingPathComponent("nano-banana") }

    /// The adjustments, regions and colours that plans may use.
    public nonisolated var vocabulary: Vocabulary { manifest.settings.vocabulary }

    /// Edit a photo by words.
    public func edit(
        image: CGImage, instruction: String, progress: @escaping Progress = { _ in }
    ) async throws -> CGImage {
        try await edited(image: image, instruction: instruction, progress: progress).image
    }

    /// Edit a photo by words, inside the mask if there is one: transparent where the edit belongs, or white on black.
    public func edited(
        image: CGImage, instruction: String, mask: CGImage? = nil, progress: @escaping Progress = { _ in }
    ) async throws -> Outcome {
        let plan = try editing(progress).plan(instruction)
        return try carriedOut(plan, image, mask, progress)
    }

    /// Carry out a plan of one's own, for instance from sliders.
    public func edited(
        image: CGImage, plan: Plan, mask: CGImage? = nil, progress: @escaping Progress = { _ in }
    ) async throws -> Outcome {
        try carriedOut(plan, image, mask, progress)
    }

    /// Say what an instruction means, without a photo.
    public func plan(_ instruction: String) async throws -> Plan { try editing { _ in }.plan(instruction) }

    private func editing(_ progress: @escaping Progress) -> Editing {
        Editing(manifest, graphs) { step in
            try Task.checkCancellation()
            progress(step)
        }
    }

    private func carriedOut(_ plan: Plan, _ image: CGImage, _ mask: CGImage?, _ progress: @escaping Progress) throws
        -> Outcome
    {
        try manifest.settings.check(plan)
        let photo = try Picture(image)
        let plane = try mask.map {
            try maskOf(Picture($0), width: photo.width, height: photo.height, limits: manifest.settings.mask)
        }
        var editing = editing(progress)
        let result = try editing.edit(photo, plan, mask: plane)
        try Task.checkCancellation()
        return Outcome(image: try result.picture.image(), plan: result.plan, notes: result.notes)
    }
}
