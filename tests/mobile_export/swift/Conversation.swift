import Foundation
import NanoBanana

/// A line of words and some tensors; see conversation.py, which stands at the other end.
struct Message {
    var words: [String]
    var tensors: [String: Tensor] = [:]

    func text(_ name: String) -> String? { tensors[name].map { String(decoding: $0.bytes, as: UTF8.self) } }
}

func textTensor(_ text: String) -> Tensor {
    let bytes = Array(text.utf8)
    return Tensor([bytes.count], .bytes(bytes))
}

final class Conversation {
    private let input = FileHandle.standardInput
    private let output = FileHandle.standardOutput

    func ask(_ question: Message) -> Message {
        send(question)
        guard let answer = receive() else { fatalError("the other end closed") }
        return answer
    }

    func send(_ message: Message) {
        var data = Data("\((message.words + [String(message.tensors.count)]).joined(separator: " "))\n".utf8)
        for (name, tensor) in message.tensors {
            let shape = tensor.shape.map(String.init).joined(separator: "x")
            let (dtype, bytes) = encoded(tensor)
            data += Data("\(name) \(dtype) \(shape)\n".utf8) + bytes
        }
        output.write(data)
    }

    func receive() -> Message? {
        guard let line = line() else { return nil }
        var words = line.split(separator: " ").map(String.init)
        let count = Int(words.removeLast())!
        var tensors = [String: Tensor]()
        for _ in 0..<count {
            let parts = self.line()!.split(separator: " ")
            tensors[String(parts[0])] = tensor(String(parts[1]), parts[2].split(separator: "x").map { Int($0)! })
        }
        return Message(words: words, tensors: tensors)
    }

    private func line() -> String? {
        var bytes = [UInt8]()
        while let byte = (try? input.read(upToCount: 1))?.first {
            if byte == 10 { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    private func tensor(_ dtype: String, _ shape: [Int]) -> Tensor {
        let count = shape.reduce(1, *)
        switch dtype {
        case "uint8": return Tensor(shape, .bytes([UInt8](read(count))))
        case "int32": return Tensor(shape, .ints(numbers(read(4 * count), count)))
        default: return Tensor(shape, .floats(numbers(read(4 * count), count)))
        }
    }

    private func read(_ count: Int) -> Data {
        var data = Data()
        while data.count < count, let more = try? input.read(upToCount: count - data.count), !more.isEmpty { data += more }
        return data
    }

    private func numbers<Number>(_ data: Data, _ count: Int) -> [Number] {
        [Number](unsafeUninitializedCapacity: count) { buffer, filled in
            data.copyBytes(to: UnsafeMutableRawBufferPointer(buffer))
            filled = count
        }
    }

    private func encoded(_ tensor: Tensor) -> (String, Data) {
        switch tensor.values {
        case .bytes(let bytes): return ("uint8", Data(bytes))
        case .ints(let ints): return ("int32", ints.withUnsafeBytes { Data($0) })
        case .floats(let floats): return ("float32", floats.withUnsafeBytes { Data($0) })
        }
    }
}
