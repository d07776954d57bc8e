import Foundation

/// Runs the artifact's graphs with the tensor types that the manifest gives them.
struct Running {
    let manifest: Manifest
    let graphs: any Graphs

    /// Run a graph; what it doesn't take is left out, so that callers may offer more.
    func run(_ name: String, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
        var taken = [String: Tensor]()
        for spec in try manifest.component(name).inputs {
            guard let input = inputs[spec.name] else {
                throw NanoBananaError.artifact("The graph \(name) wants an input \(spec.name) that isn't known here.")
            }
            taken[spec.name] = input.converted(to: spec.dtype)
        }
        return try graphs.run(name, taken)
    }

    /// Run a graph and return one of its outputs.
    func run(_ name: String, _ inputs: [String: Tensor], giving output: String) throws -> Tensor {
        try run(name, inputs).get(output)
    }
}

extension Dictionary where Key == String, Value == Tensor {
    /// The output of a graph; throws NanoBananaError.artifact where there is none of this name.
    func get(_ name: String) throws -> Tensor {
        guard let tensor = self[name] else { throw NanoBananaError.artifact("A graph gave no output \(name).") }
        return tensor
    }
}

/// Instructions as plans, by the graph `text`.
struct Reading {
    let settings: Settings
    let running: Running

    /// Read an instruction. Amounts come in steps of 0.01.
    func plan(_ instruction: String) throws -> Plan {
        let bytes = Array(instruction.trimmingCharacters(in: .whitespacesAndNewlines).utf8)
        if bytes.isEmpty {
            throw NanoBananaError.instruction("The instruction is empty. Say what to change, e.g. 'warmer'.")
        }
        if bytes.count > settings.maxInstructionBytes {
            throw NanoBananaError.instruction(
                "The instruction is too long: \(bytes.count) bytes of UTF-8. Allowed: up to "
                    + "\(settings.maxInstructionBytes).")
        }
        let found = try running.run("text", ["tokens": Tensor([1, bytes.count], .ints(bytes.map(Int32.init)))])
        return Plan(edits: try edits(found), beyond: Double(try found.get("beyond").floats[0]))
    }

    private func edits(_ found: [String: Tensor]) throws -> [Edit] {
        let vocabulary = settings.vocabulary
        let amounts = try found.get("amounts").floats
        let scores = try found.get("color").floats
        let best = scores.indices.max { scores[$0] < scores[$1] } ?? 0
        let color = vocabulary.colors[settings.colorAxis[best]]
        var edits = [Edit]()
        for (row, region) in vocabulary.regions.enumerated() {
            for (column, adjustment) in vocabulary.adjustments.enumerated() {
                let value = Double(amounts[row * vocabulary.adjustments.count + column])
                let kept = min(max(value, adjustment.low), adjustment.high)
                let amount = (100 * kept).rounded(.toNearestOrEven) / 100
                if amount == 0 || !adjustment.regions.contains(region) { continue }
                let paint = adjustment.takesColor == true ? color : nil
                edits.append(Edit(adjust: adjustment.name, amount: amount, region: region, color: paint))
            }
        }
        return edits
    }
}

/// What the graphs `vision` and `auto` see in a small copy of the photo.
struct Looking {
    let settings: Settings
    let running: Running

    /// Soft masks of the subject, the background and skin, smaller than the photo.
    func masks(_ photo: Picture) throws -> [String: Plane] {
        let found = try running.run("vision", ["image": square(photo)])
        let thing = plane(try found.get("subject"))
        return [subject: thing, background: thing.map { 1 - $0 }, skin: plane(try found.get("skin"))]
    }

    /// What the photo needs of each adjustment, of the groups that are asked for.
    func corrections(_ photo: Picture, _ asked: [Edit]) throws -> [Float] {
        let needed = try running.run("auto", ["image": square(photo)], giving: "corrections").floats
        var shares = [Float](repeating: 0, count: needed.count)
        for edit in asked {
            for name in settings.corrections[edit.adjust] ?? [] {
                let at = try settings.vocabulary.index(name)
                shares[at] = max(shares[at], Float(edit.amount))
            }
        }
        return zip(needed, shares).map { $0 * $1 }
    }

    private func square(_ photo: Picture) -> Tensor {
        let side = settings.maskPixels
        return Tensor([1, side, side, 3], .bytes(resizedTo(photo, width: side, height: side).rgb))
    }

    private func plane(_ tensor: Tensor) -> Plane {
        Plane(width: tensor.shape[3], height: tensor.shape[2], values: tensor.floats)
    }
}
