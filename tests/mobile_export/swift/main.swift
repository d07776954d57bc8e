// Does the edits that come in by standard input, with the bundle's core and the graphs that the other end runs.
import Foundation
import NanoBanana

struct AskedGraphs: Graphs {
    let conversation: Conversation

    func run(_ name: String, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
        conversation.ask(Message(words: ["run", name], tensors: inputs)).tensors
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
    order.tensors[name].map { Picture(width: $0.shape[1], height: $0.shape[0], bytes: $0.bytes) }
}

func edited(_ manifest: Manifest, _ conversation: Conversation, _ order: Message) throws -> Message {
    var stages = [String]()
    var editing = Editing(manifest, AskedGraphs(conversation: conversation)) { step in
        if stages.last != step.stage { stages.append(step.stage) }
    }
    let photo = picture(order, "photo")!
    var plan: Plan
    if let text = order.text("plan") {
        plan = try JSONDecoder().decode(WrittenPlan.self, from: Data(text.utf8)).plan
    } else {
        plan = try editing.plan(order.text("instruction")!)
    }
    try manifest.settings.vocabulary.check(plan)
    let mask = try picture(order, "mask").map {
        try maskOf($0, width: photo.width, height: photo.height, limits: manifest.settings.mask)
    }
    let result = try editing.edit(photo, plan, mask: mask)
    let shape = [result.picture.height, result.picture.width, 4]
    return Message(words: ["edited"], tensors: [
        "picture": Tensor(shape, .bytes(result.picture.bytes)),
        "notes": textTensor(result.notes.joined(separator: "\n")),
        "stages": textTensor(stages.joined(separator: " ")),
    ])
}

let conversation = Conversation()
let manifest = try Manifest.parse(Data(conversation.receive()!.text("manifest")!.utf8))
while let order = conversation.receive() {
    do {
        conversation.send(try edited(manifest, conversation, order))
    } catch let error as NanoBananaError {
        conversation.send(Message(words: ["failed"], tensors: ["message": textTensor(error.errorDescription!)]))
    }
}
