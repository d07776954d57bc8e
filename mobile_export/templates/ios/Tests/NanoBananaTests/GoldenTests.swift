import XCTest

@testable import NanoBanana
@testable import NanoBananaSelfTest

/// Without Core ML: recorded graphs stand in, and what they are fed is compared.
final class GoldenTests: XCTestCase {
    private var golden: Golden!
    private var manifest: Manifest!
    private var photo: Picture!

    override func setUpWithError() throws {
        golden = try Golden.read()
        photo = try Picture(Golden.image(golden.photo))
        manifest = try Manifest.parse(
            Data(contentsOf: NanoBanana.modelFolder.appendingPathComponent("manifest.json")))
    }

    func testEveryGraphIsFedAsInPythonAndEditsComeOutAlike() throws {
        let recorded = RecordedGraphs(golden.graphs)
        let finished = try golden.edits.filter { try agrees($0, recorded) }.map(\.name)
        let graphs = Set(golden.graphs.map(\.component)).subtracting(["text"])  // words have their own test
        XCTAssertEqual(graphs.subtracting(recorded.matched), [], "never got their golden inputs")
        XCTAssertTrue(finished.contains("turn") && finished.contains("pixelate"), "\(finished)")
    }

    func testWordsBecomeTheGoldenPlan() throws {
        let edit = golden.edits[0]
        let editing = Editing(manifest, RecordedGraphs(golden.graphs)) { _ in }
        XCTAssertEqual(try editing.plan(" \(edit.instruction) ").edits, edit.expected.edits)
    }

    func testWordsThatAreNoneOrTooManyAreRefusedWithASentence() throws {
        let editing = Editing(manifest, RecordedGraphs(golden.graphs)) { _ in }
        for words in [" ", String(repeating: "x", count: manifest.settings.maxInstructionBytes + 1)] {
            XCTAssertThrowsError(try editing.plan(words)) { error in
                XCTAssertTrue(error.localizedDescription.hasSuffix("."))
            }
        }
    }

    /// Whether the recorded runs were enough to finish the edit; fails if the picture is another one.
    private func agrees(_ edit: Golden.GoldenEdit, _ recorded: RecordedGraphs) throws -> Bool {
        var editing = Editing(manifest, recorded) { _ in }
        let limits = manifest.settings.mask
        let mask = try edit.masked
            ? maskOf(Picture(Golden.image(golden.mask)), width: photo.width, height: photo.height, limits: limits) : nil
        do {
            let result = try editing.edit(photo, edit.expected, mask: mask)
            let expected = try Picture(Golden.image(edit.file))
            XCTAssertGreaterThanOrEqual(psnr(expected, result.picture), golden.leastPsnrDb, edit.name)
            return true
        } catch is NotRecorded {
            return false
        }
    }
}

/// The whole path on a device or a Mac: words in, Core ML's graphs, and pictures beside the golden ones.
final class GoldenOnDeviceTests: XCTestCase {
    func testEditsComeOutAsInPython() async throws {
        let report = try await SelfTest.run()
        XCTAssertTrue(report.passed, "\n\(report)")
    }

    func testACancelledEditStops() async throws {
        let editor = try NanoBanana()
        let photo = try Golden.image(Golden.read().photo)
        let edit = Task {
            try await editor.edit(image: photo, instruction: "warmer") { _ in
                withUnsafeCurrentTask { task in task?.cancel() }
            }
        }
        do {
            _ = try await edit.value
            XCTFail("the edit was not cancelled")
        } catch is CancellationError {}
    }
}

/// A run that was not recorded: the first run of each graph alone is.
private struct NotRecorded: Error {
    let graph: String
}

/// Gives a graph's recorded outputs for its recorded inputs.
private final class RecordedGraphs: Graphs {
    private let runs: [String: Golden.Run]
    private(set) var matched = Set<String>()

    init(_ runs: [Golden.Run]) {
        self.runs = Dictionary(uniqueKeysWithValues: runs.map { ($0.component, $0) })
    }

    func run(_ name: String, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
        guard let run = runs[name] else { throw NotRecorded(graph: name) }
        for file in run.inputs {
            guard let input = inputs[file.name], try alike(input, file.tensor()) else { throw NotRecorded(graph: name) }
        }
        matched.insert(name)
        return try Dictionary(uniqueKeysWithValues: run.outputs.map { ($0.name, try $0.tensor()) })
    }

    private func alike(_ one: Tensor, _ other: Tensor) -> Bool {
        if one.shape != other.shape { return false }
        var least: Float = 1e-4
        if case .bytes = one.values { least = 1 }
        return zip(one.floats, other.floats).allSatisfy { abs($0 - $1) <= least }
    }
}
