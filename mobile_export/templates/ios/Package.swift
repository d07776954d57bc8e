// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "NanoBananaKit",
    platforms: [.iOS("{{ios}}"), .macOS("{{macos}}")],
    products: [
        .library(name: "NanoBanana", targets: ["NanoBanana"]),
        .library(name: "NanoBananaSelfTest", targets: ["NanoBananaSelfTest"]),
    ],
    targets: [
        // copied, not processed: the packages are compiled on the device, which knows its own processors
        .target(name: "NanoBanana", resources: [.copy("nano-banana")]),
        .target(name: "NanoBananaSelfTest", dependencies: ["NanoBanana"], resources: [.copy("golden")]),
        .testTarget(name: "NanoBananaTests", dependencies: ["NanoBanana", "NanoBananaSelfTest"]),
    ]
)
