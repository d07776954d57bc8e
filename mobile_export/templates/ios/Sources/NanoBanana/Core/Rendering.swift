/// The edits of one pass: a row of amounts and a colour for each region that `context` and `render` tell apart.
struct Rows {
    let regions: [String]
    let names: Set<String>
    let amounts: Tensor
    let colors: Tensor

    init(_ settings: Settings, _ edits: [Edit], _ regions: [String], _ extra: [Float]) throws {
        let adjustments = settings.vocabulary.adjustments
        var sums = (0..<regions.count).flatMap { _ in extra }
        var paint = [Float](repeating: 1, count: 3 * regions.count)
        for edit in edits {
            let column = try settings.vocabulary.index(edit.adjust)
            for (row, region) in regions.enumerated() where edit.region == all || edit.region == region {
                sums[row * adjustments.count + column] += Float(edit.amount)
                guard let color = edit.color.flatMap(channels) else { continue }
                for channel in 0..<3 { paint[3 * row + channel] = Float(color[channel]) / 255 }
            }
        }
        for at in sums.indices {
            let adjustment = adjustments[at % adjustments.count]
            sums[at] = min(max(sums[at], Float(adjustment.low)), Float(adjustment.high))
        }
        self.regions = regions
        names = Set(edits.map(\.adjust))
        amounts = Tensor([regions.count, adjustments.count], sums)
        colors = Tensor([regions.count, 3], paint)
    }
}

/// The graphs `context` and `render`: one pass for each kind of region, each over all strips of the picture.
struct Rendering {
    let settings: Settings
    let running: Running
    let masks: [String: Plane]
    let listen: Listener

    private static let passes = [[subject, background], [skin, "rest"], [masked]]

    /// The whole photo with subject and background, then the skin, then the masked area.
    func rendered(_ photo: Picture, _ edits: [Edit], corrections: [Float]) throws -> Picture {
        var picture = photo
        var everywhere = edits.filter { $0.region == all }
        var extra = corrections
        let none = [Float](repeating: 0, count: extra.count)
        func whole() throws -> Picture {
            if everywhere.isEmpty && extra.allSatisfy({ $0 == 0 }) { return picture }
            return try pass(picture, Rows(settings, everywhere, [all], extra))
        }
        for regions in Self.passes {
            let regional = edits.filter { regions.contains($0.region) }
            if regional.isEmpty { continue }
            if regions == [masked] {
                picture = try whole()
                let above = try pass(picture, Rows(settings, regional, regions, none))
                picture = blended(picture, above, try mask(masked))
            } else {
                picture = try pass(picture, Rows(settings, everywhere + regional, regions, extra))
            }
            everywhere = []
            extra = none
        }
        return try whole()
    }

    private func mask(_ region: String) throws -> Plane {
        guard let mask = masks[region] else { throw NanoBananaError.plan("There is no mask of \(region).") }
        return mask
    }

    private func pass(_ picture: Picture, _ rows: Rows) throws -> Picture {
        let regional = rows.regions.count == 2
        let factor = max(1, parts(max(picture.width, picture.height), settings.contextPixels))
        let cutting = regional && !rows.names.isDisjoint(with: settings.cuttingAdjustments)
        let suffix = cutting || !rows.names.isDisjoint(with: settings.fullAdjustments) ? "_full" : ""
        var layers = neutral(rows.regions.count)
        if regional || !rows.names.isDisjoint(with: settings.localAdjustments) {
            try listen(Step(stage: "context", fraction: 0.45))
            let mask = regional ? try mask(rows.regions[0]) : Plane(width: 2, height: 2, values: [1, 1, 1, 1])
            layers = try context("context\(suffix)", picture, factor, mask, rows)
        }
        let strip = Strip(graph: "render\(suffix)", factor: factor, layers: layers, rows: rows)
        var result = picture
        for range in strips(
            height: picture.height, width: picture.width * rows.regions.count, pixels: settings.stripPixels,
            multiple: factor)
        {
            let done = Double(range.lowerBound) / Double(picture.height)
            try listen(Step(stage: "render", fraction: 0.5 + 0.4 * done))
            try paint(strip, picture, range, &result)
        }
        return result
    }

    private func context(
        _ name: String, _ picture: Picture, _ factor: Int, _ mask: Plane, _ rows: Rows
    ) throws -> [String: Tensor] {
        let photo = reduced(picture, factor, factor)
        let side = settings.maskPixels
        return try running.run(name, [
            "photo": Tensor([1, photo.height, photo.width, 3], .bytes(photo.rgb)),
            "mask": resized(mask, width: side, height: side, filter: .bilinear).tensor,
            "amounts": rows.amounts,
        ])
    }

    private struct Strip {
        let graph: String
        let factor: Int
        let layers: [String: Tensor]
        let rows: Rows
    }

    /// Render the rows of a range, with a margin above and below so that no seam shows.
    private func paint(_ strip: Strip, _ picture: Picture, _ range: Range<Int>, _ result: inout Picture) throws {
        let factor = strip.factor
        let halo = parts(settings.haloRows, factor)
        let first = max(0, range.lowerBound / factor - halo)
        let last = min(parts(picture.height, factor), parts(range.upperBound, factor) + halo)
        let top = first * factor
        var cut = picture.cut(Box(top: top, bottom: min(last * factor, picture.height), left: 0, right: picture.width))
        var inputs = strip.layers
        if let layers = inputs["layers"], layers.shape[2] > 1 {
            cut = filledBlocks(cut, factor)
            inputs = inputs.mapValues { rowsOf($0, first..<last) }
        }
        inputs["image"] = cut.tensor
        inputs["window"] = Tensor([4], [top, 0, picture.height, picture.width].map(Float.init))
        inputs["amounts"] = strip.rows.amounts
        inputs["color"] = strip.rows.colors
        let edited = Picture(try running.run(strip.graph, inputs, giving: "edited"))
        let kept = Box(top: range.lowerBound - top, bottom: range.upperBound - top, left: 0, right: picture.width)
        result.paste(edited, kept, left: 0, top: range.lowerBound)
    }
}

/// Layers that change nothing and a matte that is subject everywhere, as single pixels.
private func neutral(_ rows: Int) -> [String: Tensor] {
    [
        "layers": Tensor([rows, 4, 1, 1], (0..<4 * rows).map { $0 % 4 == 0 ? 1 : 0 }),
        "matte": Tensor([1, 4, 1, 1], [0, 0, 0, 1]),
        "colors": Tensor([1, 6, 1, 1], [Float](repeating: 0, count: 6)),
    ]
}

/// Some rows of (n, channels, height, width).
private func rowsOf(_ layer: Tensor, _ range: Range<Int>) -> Tensor {
    let (planes, height, width) = (layer.shape[0] * layer.shape[1], layer.shape[2], layer.shape[3])
    let from = layer.floats
    var result = [Float]()
    for plane in 0..<planes {
        let start = plane * height * width
        result += from[start + range.lowerBound * width..<start + range.upperBound * width]
    }
    return Tensor([layer.shape[0], layer.shape[1], range.count, width], result)
}
