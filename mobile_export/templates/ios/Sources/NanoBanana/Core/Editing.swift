/// Progress of a running edit: the stage that starts now, and the share that is done, 0..1.
public struct Step: Equatable, Sendable {
    public let stage: String
    public let fraction: Double
}

/// Hears of each step before it is done; may throw to stop the edit.
public typealias Listener = (Step) throws -> Void

/// The picture, the plan that was carried out, and sentences for the user about what is missing or may disappoint.
public struct Edited {
    public let picture: Picture
    public let plan: Plan
    public let notes: [String]
}

/// nano-banana's procedure: read, mend, correct, render, enlarge, place. What a plan doesn't need is not run.
public struct Editing {
    private let settings: Settings
    private let running: Running
    private let listen: Listener
    private var notes = [String]()

    public init(_ manifest: Manifest, _ graphs: any Graphs, listen: @escaping Listener) {
        settings = manifest.settings
        running = Running(manifest: manifest, graphs: graphs)
        self.listen = listen
    }

    /// Read an instruction; throws NanoBananaError.instruction for one that can't be used.
    public func plan(_ instruction: String) throws -> Plan {
        try listen(Step(stage: "text", fraction: 0))
        return try Reading(settings: settings, running: running).plan(instruction)
    }

    /// Carry out a plan that `plan` gave or the app made, by then checked. The mask has the photo's size.
    public mutating func edit(_ photo: Picture, _ asked: Plan, mask: Plane?) throws -> Edited {
        let plan = try fitted(asked, hasMask: mask != nil)
        if plan.beyond >= settings.beyondThreshold {
            notes.append("The request goes beyond what this model can do; only the plan was carried out.")
        }
        if plan.edits.isEmpty {
            notes.append("The plan is empty, so the photo is unchanged. Name an adjustment, for example 'warmer'.")
            return Edited(picture: photo, plan: plan, notes: notes)
        }
        let picture = try rendered(photo, plan, mask)
        return Edited(picture: picture, plan: plan, notes: notes)
    }

    private mutating func fitted(_ plan: Plan, hasMask: Bool) throws -> Plan {
        if hasMask { return try settings.vocabulary.withinMask(plan) }
        let left = plan.edits.filter { $0.region == masked }.map(\.adjust)
        if !left.isEmpty { notes.append("Left out because no mask was given: \(left.joined(separator: ", ")).") }
        return Plan(edits: plan.edits.filter { $0.region != masked }, beyond: plan.beyond)
    }

    private mutating func rendered(_ photo: Picture, _ plan: Plan, _ mask: Plane?) throws -> Picture {
        let looking = Looking(settings: settings, running: running)
        var masks = [String: Plane]()
        if !plan.regions.isDisjoint(with: [subject, background, skin]) {
            try listen(Step(stage: "vision", fraction: 0.1))
            masks = try looking.masks(photo)
            doubt(plan, masks)
        }
        masks[masked] = mask
        let mending = settings.restoreAxis.filter { $0 != upscale } + [erasing]
        var picture = try restored(photo, plan.of(mending), masks)
        var corrections = [Float](repeating: 0, count: settings.vocabulary.adjustments.count)
        let asked = plan.of(Array(settings.corrections.keys))
        if !asked.isEmpty {
            try listen(Step(stage: "auto", fraction: 0.4))
            corrections = try looking.corrections(picture, asked)
        }
        let apart = settings.restoreAxis + [erasing] + settings.corrections.keys + settings.canvasAdjustments
        let edits = plan.edits.filter { !apart.contains($0.adjust) }
        let rendering = Rendering(settings: settings, running: running, masks: masks, listen: listen)
        picture = try rendering.rendered(picture, edits, corrections: corrections)
        picture = try upscaled(picture, plan.of([upscale]))
        return Placing(shares: settings.canvas, masks: masks).placed(picture, plan.of(settings.canvasAdjustments))
    }

    /// One run of `restore` per region that is named, the whole photo first.
    private func restored(_ photo: Picture, _ edits: [Edit], _ masks: [String: Plane]) throws -> Picture {
        var picture = photo
        for region in settings.vocabulary.regions {
            let chosen = edits.filter { $0.region == region }
            if chosen.isEmpty { continue }
            if region == all {
                picture = try restoration.mended(picture, mending(chosen))
                continue
            }
            guard let mask = masks[region] else { throw NanoBananaError.plan("There is no mask of \(region).") }
            if region == masked {
                let fill = chosen.filter { $0.adjust == erasing }.reduce(0) { $0 + $1.amount }
                picture = try restoration.mendedInside(picture, mending(chosen), mask: mask, fill: fill)
            } else {
                picture = blended(picture, try restoration.mended(picture, mending(chosen)), mask)
            }
        }
        return picture
    }

    private func upscaled(_ picture: Picture, _ edits: [Edit]) throws -> Picture {
        if edits.isEmpty { return picture }
        let largest = settings.maxUpscaledPixels / (enlargement * enlargement)
        if picture.width * picture.height > largest {
            throw NanoBananaError.plan("The photo is too large to be enlarged. Allowed: up to \(largest) pixels.")
        }
        return try restoration.mended(enlarged(picture), mending(edits))
    }

    private var restoration: Restoration {
        Restoration(sizes: settings.restoration) { try listen(Step(stage: "restore", fraction: 0.15 + 0.25 * $0)) }
    }

    /// `fill` for what is marked, then `restore` with the strengths of the edits that it does.
    private func mending(_ edits: [Edit]) -> Mending {
        let strengths = settings.restoreAxis.map { name in
            Float(edits.last { $0.adjust == name }?.amount ?? 0)
        }
        return { piece, hole in
            var picture = piece
            if hole.values.contains(where: { $0 != 0 }) {
                let inputs = ["image": picture.tensor, "mask": hole.tensor]
                picture = Picture(try running.run("fill", inputs, giving: "filled"))
            }
            if strengths.contains(where: { $0 != 0 }) {
                let inputs = ["image": picture.tensor, "strengths": Tensor([1, strengths.count], strengths)]
                picture = Picture(try running.run("restore", inputs, giving: "restored"))
            }
            return picture
        }
    }

    /// Say so if the photo doesn't seem to have a region that the plan names.
    private mutating func doubt(_ plan: Plan, _ masks: [String: Plane]) {
        for (name, faintest) in settings.faintest.sorted(by: { $0.key > $1.key }) {
            let asked = plan.regions.contains(name) || name == subject && plan.regions.contains(background)
            guard asked, let mask = masks[name] else { continue }
            let mean = mask.values.reduce(0) { $0 + Double($1) } / Double(mask.values.count)
            if mean >= faintest { continue }
            notes.append(
                "No clear \(name) was found in the photo, so edits by this region may do little or look patchy.")
        }
    }
}

/// The canvas operations of a plan in their fixed order; masks fit the picture until it is cropped or turned.
struct Placing {
    let shares: CanvasShares
    let masks: [String: Plane]

    func placed(_ photo: Picture, _ edits: [Edit]) -> Picture {
        func named(_ name: String) -> [Edit] { edits.filter { $0.adjust == name } }
        var picture = photo
        for edit in named("pixelate") { picture = blocks(picture, edit) }
        for edit in named("crop") where edit.region == subject { picture = cropped(picture, edit) }
        for edit in named("crop") where edit.region != subject { picture = cropped(picture, edit) }
        for edit in named("rotate") { picture = turned(picture, edit.amount) }
        func asked(_ name: String) -> Bool { named(name).contains { $0.amount > 0.5 } }
        if asked("flip_horizontal") { picture = mirrored(picture, horizontal: true) }
        if asked("flip_vertical") { picture = mirrored(picture, horizontal: false) }
        for edit in named("frame") {
            let color = edit.color.flatMap(channels) ?? [255, 255, 255]
            picture = framed(picture, edit.amount, width: shares.frame, color: color)
        }
        return picture
    }

    private func blocks(_ picture: Picture, _ edit: Edit) -> Picture {
        let share = shares.blockLeast + (shares.blockMost - shares.blockLeast) * edit.amount
        let side = (share * Double(max(picture.width, picture.height))).rounded(.toNearestOrEven)
        return pixelated(picture, block: max(2, Int(side)), mask: masks[edit.region], covered: shares.blockCovered)
    }

    private func cropped(_ picture: Picture, _ edit: Edit) -> Picture {
        if edit.region == all { return croppedMiddle(picture, edit.amount) }
        guard edit.region == subject, let mask = masks[subject] else { return picture }
        return croppedAround(picture, mask, edit.amount, margin: shares.subjectMargin) ?? picture
    }
}
