/// One adjustment as the manifest describes it; `low`..`high` is the allowed amount.
public struct Adjustment: Decodable, Sendable {
    public let name: String
    public let low: Double
    public let high: Double
    public let regions: [String]
    let takesColor: Bool?
}

/// One adjustment of a plan. `color` (`#rrggbb`) belongs to those that take one.
public struct Edit: Equatable, Sendable {
    public var adjust: String
    public var amount: Double
    public var region: String
    public var color: String?

    public init(adjust: String, amount: Double, region: String = all, color: String? = nil) {
        self.adjust = adjust
        self.amount = amount
        self.region = region
        self.color = color
    }
}

/// Edits (their order carries no meaning) and `beyond`, 0..1: how sure it is that more was wanted.
public struct Plan: Equatable, Sendable {
    public var edits: [Edit]
    public var beyond: Double

    public init(edits: [Edit], beyond: Double = 0) {
        self.edits = edits
        self.beyond = beyond
    }

    var regions: Set<String> { Set(edits.map(\.region)) }

    func of(_ names: [String]) -> [Edit] { edits.filter { names.contains($0.adjust) } }
}

/// All adjustments in the order of the graphs' `amounts` axis, the regions and the named colours.
public struct Vocabulary: Decodable, Sendable {
    public let adjustments: [Adjustment]
    public let regions: [String]
    public let colors: [String: String]

    func index(_ name: String) throws -> Int {
        guard let place = adjustments.firstIndex(where: { $0.name == name }) else {
            let names = adjustments.map(\.name).joined(separator: ", ")
            throw NanoBananaError.plan("There is no adjustment called \(name). Allowed: \(names).")
        }
        return place
    }

    /// Throws NanoBananaError.plan unless the edit is one that the model has.
    func check(_ edit: Edit) throws {
        guard let fault = fault(of: edit, adjustments[try index(edit.adjust)]) else { return }
        let got = "\(edit.amount), \(edit.region), \(edit.color ?? "no colour")"
        throw NanoBananaError.plan("\(edit.adjust) \(fault). Got: \(got).")
    }

    private func fault(of edit: Edit, _ known: Adjustment) -> String? {
        let takesColor = known.takesColor ?? false
        if !(known.low...known.high).contains(edit.amount) { return "takes amounts from \(known.low) to \(known.high)" }
        if !known.regions.contains(edit.region) { return "can be applied to \(known.regions.joined(separator: ", "))" }
        if takesColor && edit.color.flatMap(channels) == nil { return "needs a colour such as #ff8800" }
        return !takesColor && edit.color != nil ? "takes no colour" : nil
    }

    /// Confine a plan to the user's mask: edits of the whole photo become edits of the masked area where they can.
    func withinMask(_ plan: Plan) throws -> Plan {
        let edits = try plan.edits.map { edit -> Edit in
            var edit = edit
            let fits = adjustments[try index(edit.adjust)].regions.contains(masked)
            if edit.region == all && fits { edit.region = masked }
            return edit
        }
        return Plan(edits: edits, beyond: edits.contains { $0.adjust == erasing } ? 0 : plan.beyond)
    }
}

public let all = "all"
let masked = "masked"
let erasing = "inpaint"
let upscale = "upscale"
let subject = "subject"
let background = "background"
let skin = "skin"

/// Red, green and blue of `#rrggbb`, 0..255; nil for another text.
func channels(_ color: String) -> [UInt8]? {
    guard color.count == 7, color.first == "#", let number = UInt32(color.dropFirst(), radix: 16) else { return nil }
    return [UInt8(number >> 16), UInt8(number >> 8 & 255), UInt8(number & 255)]
}
