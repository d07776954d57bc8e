// Runs the bundle's own tests, and tells the other end how many failed.
import Foundation
import Wire
import XCTest

@testable import NanoBananaTests

final class Failures: NSObject, XCTestObservation {
    var messages = [String]()

    func testCase(_ test: XCTestCase, didFailWithDescription text: String, inFile file: String?, atLine line: Int) {
        messages.append("\(test.name): \(text)")
    }

    func testBundleDidFinish(_ bundle: Bundle) {
        Conversation.standard.send(Message(["finished"], ["failures": Numbers(text: messages.joined(separator: "\n"))]))
    }
}

_ = Conversation.standard
XCTestObservationCenter.shared.addTestObserver(Failures())
XCTMain([
    testCase([
        ("everyGraph", GoldenTests.testEveryGraphIsFedAsInPythonAndEditsComeOutAlike),
        ("words", GoldenTests.testWordsBecomeTheGoldenPlan),
        ("refused", GoldenTests.testWordsThatAreNoneOrTooManyAreRefusedWithASentence),
    ]),
    testCase([
        ("edits", asyncTest(GoldenOnDeviceTests.testEditsComeOutAsInPython)),
        ("cancelled", asyncTest(GoldenOnDeviceTests.testACancelledEditStops)),
    ]),
])
