import CoreML
import Foundation
import NanoBanana

/// Every golden edit on this device: `print(try await SelfTest.run())` in any app, for instance in a debug menu.
public struct SelfTest: CustomStringConvertible, Sendable {
    /// One edit: how well it agrees with the golden picture, whether its words were understood alike, and its time.
    public struct Row: Sendable {
        public let name: String
        public let decibels: Double
        public let leastDecibels: Double
        public let planAgrees: Bool
        public let seconds: Double

        public var passed: Bool { planAgrees && decibels >= leastDecibels }
    }

    public let rows: [Row]

    public var passed: Bool { rows.allSatisfy(\.passed) }

    public var description: String {
        let lines = rows.map { row in
            let numbers = String(format: "%6.1f dB %6.2f s", row.decibels, row.seconds)
            let complaint = row.planAgrees ? "allowed are \(row.leastDecibels) dB or more" : "another plan"
            return "\(numbers)  \(row.name)\(row.passed ? "" : ": \(complaint)")"
        }
        return (lines + [passed ? "passed" : "FAILED"]).joined(separator: "\n")
    }

    /// Run all edits, the first of each graph with the time to compile it.
    public static func run(units: MLComputeUnits = .all) async throws -> SelfTest {
        let golden = try Golden.read()
        let editor = try NanoBanana(units: units)
        let photo = try Golden.image(golden.photo)
        let mask = try Golden.image(golden.mask)
        var rows = [Row]()
        for edit in golden.edits {
            let start = Date()
            let outcome = try await editor.edited(
                image: photo, instruction: edit.instruction, mask: edit.masked ? mask : nil)
            let seconds = Date().timeIntervalSince(start)
            let expected = try Picture(Golden.image(edit.file))
            let understood = try await editor.plan(edit.instruction)
            rows.append(
                Row(
                    name: edit.name, decibels: try psnr(expected, Picture(outcome.image)),
                    leastDecibels: edit.otherFormatPsnrDb,
                    planAgrees: understood.edits == edit.expected.edits, seconds: seconds))
        }
        return SelfTest(rows: rows)
    }
}
