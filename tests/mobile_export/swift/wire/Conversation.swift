import Foundation

/// One tensor on its way: its dtype as NumPy calls it, and its bytes, little-endian.
public struct Numbers {
    public let dtype: String
    public let shape: [Int]
    public let data: Data

    public init(_ dtype: String, _ shape: [Int], _ data: Data) {
        self.dtype = dtype
        self.shape = shape
        self.data = data
    }

    public init(text: String) { self.init("uint8", [text.utf8.count], Data(text.utf8)) }

    public init<Number>(_ dtype: String, _ shape: [Int], numbers: [Number]) {
        self.init(dtype, shape, numbers.withUnsafeBytes { Data($0) })
    }

    public var text: String { String(decoding: data, as: UTF8.self) }

    public func numbers<Number>() -> [Number] {
        let count = data.count / MemoryLayout<Number>.stride
        return [Number](unsafeUninitializedCapacity: count) { buffer, filled in
            data.copyBytes(to: UnsafeMutableRawBufferPointer(buffer))
            filled = count
        }
    }
}

/// A line of words and some tensors; see conversation.py, which stands at the other end.
public struct Message {
    public var words: [String]
    public var tensors: [String: Numbers]

    public init(_ words: [String], _ tensors: [String: Numbers] = [:]) {
        self.words = words
        self.tensors = tensors
    }
}

public final class Conversation {
    /// By the standard streams; whatever else prints to the standard output afterwards goes to the standard error.
    public nonisolated(unsafe) static let standard: Conversation = {
        let output = dup(1)
        dup2(2, 1)
        return Conversation(FileHandle.standardInput, FileHandle(fileDescriptor: output))
    }()

    private let input: FileHandle
    private let output: FileHandle

    private init(_ input: FileHandle, _ output: FileHandle) {
        self.input = input
        self.output = output
    }

    public func ask(_ question: Message) -> Message {
        send(question)
        guard let answer = receive() else { fatalError("the other end closed") }
        return answer
    }

    public func send(_ message: Message) {
        var data = Data("\((message.words + [String(message.tensors.count)]).joined(separator: " "))\n".utf8)
        for (name, tensor) in message.tensors {
            data += Data("\(name) \(tensor.dtype) \(tensor.shape.map(String.init).joined(separator: "x"))\n".utf8)
            data += tensor.data
        }
        output.write(data)
    }

    public func receive() -> Message? {
        guard let line = line() else { return nil }
        var words = line.split(separator: " ").map(String.init)
        let count = Int(words.removeLast())!
        var tensors = [String: Numbers]()
        for _ in 0..<count {
            let parts = self.line()!.split(separator: " ").map(String.init)
            let shape = parts[2].split(separator: "x").map { Int($0)! }
            let bytes = shape.reduce(parts[1] == "uint8" ? 1 : 4, *)
            tensors[parts[0]] = Numbers(parts[1], shape, read(bytes))
        }
        return Message(words, tensors)
    }

    private func line() -> String? {
        var bytes = [UInt8]()
        while let byte = (try? input.read(upToCount: 1))?.first {
            if byte == 10 { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    private func read(_ count: Int) -> Data {
        var data = Data()
        while data.count < count, let more = try? input.read(upToCount: count - data.count), !more.isEmpty {
            data += more
        }
        return data
    }
}
