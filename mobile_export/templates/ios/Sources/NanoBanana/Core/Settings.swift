import Foundation

/// A graph's tensor as the manifest describes it; nil stands for a side that differs from run to run.
public struct TensorSpec: Decodable, Sendable {
    public let name: String
    public let dtype: DType
    public let shape: [Int?]

    private struct Side: Decodable {
        let pixels: Int?

        init(from decoder: any Decoder) throws { pixels = try? decoder.singleValueContainer().decode(Int.self) }
    }

    private enum Member: CodingKey {
        case name, dtype, shape
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: Member.self)
        name = try members.decode(String.self, forKey: .name)
        dtype = try members.decode(DType.self, forKey: .dtype)
        shape = try members.decode([Side].self, forKey: .shape).map(\.pixels)
    }
}

/// One graph of the artifact: its file and what goes in and out.
public struct Component: Decodable, Sendable {
    struct DataFile: Decodable, Sendable {
        let sha256: String
    }

    public let name: String
    public let file: String
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
    let sha256: String
    let data: [DataFile]

    /// Another one for other contents.
    var identity: String { ([name, sha256] + data.map(\.sha256)).map { $0.prefix(16) }.joined(separator: "-") }
}

/// How `restore` and `fill` are fed, in pixels; see Restoration.swift.
struct RestorationSizes: Decodable, Sendable {
    /// What a tile sees along both axes, and how much of it is halo; multiples of `multiple`.
    let tilePixels: Int
    let haloPixels: Int
    let multiple: Int
    /// Holes thicker than this are filled on a reduced copy.
    let holePixels: Int
    /// What a mask marks by more than this is hole.
    let marked: Double
    /// On a reduced copy, what keeps less alpha than this of 255 is hole.
    let knownAlpha: Int
    /// How much around what is marked is looked at, at least.
    let aroundPixels: Int
}

/// How much an amount of 1 does in Canvas.swift, as shares of the picture's sides.
struct CanvasShares: Decodable, Sendable {
    let frame: Double
    let blockLeast: Double
    let blockMost: Double
    let blockCovered: Double
    let subjectMargin: Double
}

/// Which pictures can be masks of a photo.
public struct MaskLimits: Decodable, Sendable {
    let proportionsTolerance: Double
    let leastMarked: Double
}

/// The manifest's settings of nano-banana.
public struct Settings: Decodable, Sendable {
    public let vocabulary: Vocabulary
    let maxInstructionBytes: Int
    let maxEdits: Int
    let maskPixels: Int
    let contextPixels: Int
    let haloRows: Int
    let stripPixels: Int
    let maxUpscaledPixels: Int
    let beyondThreshold: Double
    let faintest: [String: Double]
    let restoration: RestorationSizes
    let canvas: CanvasShares
    public let mask: MaskLimits
    let colorAxis: [String]
    let restoreAxis: [String]
    let corrections: [String: [String]]
    let localAdjustments: Set<String>
    let fullAdjustments: Set<String>
    let cuttingAdjustments: Set<String>
    let canvasAdjustments: [String]

    /// Throws NanoBananaError.plan unless the model can carry the plan out.
    public func check(_ plan: Plan) throws {
        if plan.edits.count > maxEdits {
            throw NanoBananaError.plan("The plan has too many edits. Got: \(plan.edits.count). Allowed: \(maxEdits).")
        }
        try plan.edits.forEach(vocabulary.check)
    }
}

/// What is read of manifest.json.
public struct Manifest: Decodable, Sendable {
    public static let formatVersion = 2

    public let formatVersion: Int
    public let name: String
    public let target: String
    public let components: [Component]
    public let settings: Settings

    /// Read the file's bytes; throws NanoBananaError.artifact for what this code can't use.
    public static func parse(_ data: Data) throws -> Manifest {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do {
            let manifest = try decoder.decode(Manifest.self, from: data)
            if manifest.formatVersion == formatVersion { return manifest }
            throw NanoBananaError.artifact(
                "This app reads artifacts of format \(formatVersion). Got: \(manifest.formatVersion).")
        } catch let error as DecodingError {
            throw NanoBananaError.artifact("The manifest can't be used: \(error). Export the model again.")
        }
    }

    public func component(_ name: String) throws -> Component {
        guard let found = components.first(where: { $0.name == name }) else {
            throw NanoBananaError.artifact("The artifact has no graph called \(name).")
        }
        return found
    }
}
