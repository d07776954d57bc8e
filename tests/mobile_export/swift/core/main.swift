// Does the edits that come in by standard input, with the bundle's core and the graphs that the other end runs.
import Foundation
import NanoBanana
import Wire

struct AskedGraphs: Graphs {
    func run(_ name: String, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
        let answer = Conversation.standard.ask(Message(["run", name], inputs.mapValues(sent)))
        return answer.tensors.mapValues(received)
    }

    private func sent(_ tensor: Tensor) -> Numbers {
        switch tensor.values {
        case .bytes(let bytes): return Numbers("uint8", tensor.shape, numbers: bytes)
        case .ints(let ints): return Numbers("int32", tensor.shape, numbers: ints)
        case .floats(let floats): return Numbers("float32", tensor.shape, numbers: floats)
        }
    }

    private func received(_ numbers: Numbers) -> Tensor {
        switch numbers.dtype {
        case "uint8": return Tensor(numbers.shape, .bytes(numbers.numbers()))
        case "int32": return Tensor(numbers.shape, .ints(numbers.numbers()))
        default: return Tensor(numbers.shape, .floats(numbers.numbers()))
        }
    }
}

struct WrittenPlan: Decodable {
    struct WrittenEdit: Decodable {
        let adjust: String, amount: Double, region: String, color: String?
    }
    let edits: [WrittenEdit]

    var plan: Plan {
        Plan(edits: edits.map { Edit(adjust: $0.adjust, amount: $0.amount, region: $0.region, color: $0.color) })
    }
}

func picture(_ order: Message, _ name: String) -> Picture? {
    order.tensors[name].map { Picture(width: $0.shape[1], height: $0.shape[0], bytes: $0.numbers()) }
}

func edited(_ manifest: Manifest, _ order: Message) throws -> Message {
    var stages = [String]()
    var editing = Editing(manifest, AskedGraphs()) { step in
        if stages.last != step.stage { stages.append(step.stage) }
    }
    let photo = picture(order, "photo")!
    var plan: Plan
    if let written = order.tensors["plan"] {
        plan = try JSONDecoder().decode(WrittenPlan.self, from: written.data).plan
    } else {
        plan = try editing.plan(order.tensors["instruction"]!.text)
    }
    try manifest.settings.check(plan)
    let mask = try picture(order, "mask").map {
        try maskOf($0, width: photo.width, height: photo.height, limits: manifest.settings.mask)
    }
    let result = try editing.edit(photo, plan, mask: mask)
    let shape = [result.picture.height, result.picture.width, 4]
    return Message(["edited"], [
        "picture": Numbers("uint8", shape, numbers: result.picture.bytes),
        "notes": Numbers(text: result.notes.joined(separator: "\n")),
        "stages": Numbers(text: stages.joined(separator: " ")),
    ])
}

let manifest = try Manifest.parse(Conversation.standard.receive()!.tensors["manifest"]!.data)
while let order = Conversation.standard.receive() {
    do {
        Conversation.standard.send(try edited(manifest, order))
    } catch let error as NanoBananaError {
        Conversation.standard.send(Message(["failed"], ["message": Numbers(text: error.errorDescription!)]))
    }
}
