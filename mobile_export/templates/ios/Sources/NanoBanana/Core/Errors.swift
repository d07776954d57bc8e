import Foundation

/// What went wrong, as a sentence that can be shown to the user. Cancelling throws CancellationError instead.
public enum NanoBananaError: LocalizedError, Equatable, Sendable {
    /// The words can't be used: empty, or too long for this model.
    case instruction(String)
    /// The plan asks for what the vocabulary doesn't have, or for what this photo can't give.
    case plan(String)
    /// The photo or the mask can't be used.
    case image(String)
    /// The model in the app is missing, damaged, or made for another version of this code.
    case artifact(String)
    /// The graphs failed to run on this device.
    case engine(String)

    public var errorDescription: String? {
        switch self {
        case .instruction(let sentence), .plan(let sentence), .image(let sentence), .artifact(let sentence),
            .engine(let sentence):
            return sentence
        }
    }
}
