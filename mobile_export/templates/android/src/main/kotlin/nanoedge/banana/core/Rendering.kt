package nanoedge.banana.core

/** The edits of one pass: a row of amounts and a colour for each region that `context` and `render` tell apart. */
internal class Rows(settings: Settings, edits: List<Edit>, val regions: List<String>, extra: FloatArray) {
    val count = regions.size
    val names = edits.map { it.adjust }.toSet()
    val amounts: Tensor
    val colors: Tensor

    init {
        val adjustments = settings.vocabulary.adjustments
        val sums = FloatArray(count * adjustments.size) { extra[it % adjustments.size] }
        val paint = FloatArray(3 * count) { 1f }
        for (edit in edits) for (row in 0 until count) {
            if (edit.region != ALL && edit.region != regions[row]) continue
            sums[row * adjustments.size + settings.vocabulary.index(edit.adjust)] += edit.amount.toFloat()
            val color = edit.color ?: continue
            channels(color).forEachIndexed { at, value -> paint[3 * row + at] = value / 255f }
        }
        for (at in sums.indices) {
            val adjustment = adjustments[at % adjustments.size]
            sums[at] = sums[at].coerceIn(adjustment.low.toFloat(), adjustment.high.toFloat())
        }
        amounts = FloatTensor(listOf(count, adjustments.size), sums)
        colors = FloatTensor(listOf(count, 3), paint)
    }
}

/** The graphs `context` and `render`: one pass for each kind of region, each over all pieces of the picture. */
internal class Rendering(private val settings: Settings, private val running: Running, private val listen: Listener) {
    /** The whole photo with subject and background, then the skin, then the masked area. */
    fun rendered(photo: Picture, edits: List<Edit>, corrections: FloatArray, masks: Map<String, Plane>): Picture {
        var picture = photo
        var everywhere = edits.filter { it.region == ALL }
        var extra = corrections
        fun waiting() = everywhere.isNotEmpty() || extra.any { it != 0f }
        fun whole() = pass(picture, Rows(settings, everywhere, listOf(ALL), extra), masks)
        for (regions in PASSES) {
            val regional = edits.filter { it.region in regions }
            if (regional.isEmpty()) continue
            if (regions == listOf(MASKED)) {
                if (waiting()) picture = whole()
                val above = pass(picture, Rows(settings, regional, regions, FloatArray(extra.size)), masks)
                picture = blended(picture, above, masks.getValue(MASKED))
            } else {
                picture = pass(picture, Rows(settings, everywhere + regional, regions, extra), masks)
            }
            everywhere = emptyList()
            extra = FloatArray(extra.size)
        }
        return if (waiting()) whole() else picture
    }

    private fun pass(picture: Picture, rows: Rows, masks: Map<String, Plane>): Picture {
        val regional = rows.count == 2
        val factor = maxOf(1, parts(maxOf(picture.width, picture.height), settings.contextPixels))
        val full = rows.names.any { it in settings.full } || regional && rows.names.any { it in settings.cutting }
        val suffix = if (full) "_full" else ""
        var layers = neutral(rows.count)
        if (regional || rows.names.any { it in settings.local }) {
            listen(Step("context", 0.45))
            val mask = if (regional) masks.getValue(rows.regions[0]) else Plane(2, 2, FloatArray(4) { 1f })
            layers = context("context$suffix", picture, factor, mask, rows)
        }
        val pass = Pass("render$suffix", factor, layers, rows)
        val result = Picture(picture.width, picture.height)
        for (tile in pieces(picture, pass)) {
            listen(Step("render", 0.5 + 0.4 * tile.kept.top / picture.height))
            paint(pass, picture, tile, result)
        }
        return result
    }

    private fun context(name: String, picture: Picture, factor: Int, mask: Plane, rows: Rows): Map<String, Tensor> {
        val photo = reduced(picture, factor, factor)
        val side = settings.maskPixels
        return running.run(name, mapOf(
            "photo" to ByteTensor(listOf(1, photo.height, photo.width, 3), photo.rgb()),
            "mask" to resized(mask, side, side, Filter.BILINEAR).tensor(),
            "amounts" to rows.amounts,
        ))
    }

    private class Pass(val graph: String, val factor: Int, val layers: Map<String, Tensor>, val rows: Rows)

    /** What is rendered at once, with a margin against seams: strips, or tiles where graphs have fixed sizes. */
    private fun pieces(picture: Picture, pass: Pass): List<Tile> {
        val (width, height) = picture.width to picture.height
        val margin = parts(settings.haloRows, pass.factor) * pass.factor
        val sides = settings.fixedSizes[pass.graph].orEmpty().map { minOf(it.getValue("height"), it.getValue("width")) }
        if (sides.isNotEmpty()) {
            val covers = sides.distinct().associateWith { side ->
                tiles(height, width, side / pass.factor * pass.factor, margin, pass.factor)
            }
            return covers.minBy { (side, cover) -> side.toLong() * side * cover.size }.value
        }
        return strips(height, width * pass.rows.count, settings.stripPixels, pass.factor).map { (top, bottom) ->
            val seen = Box(maxOf(0, top / pass.factor * pass.factor - margin), minOf(height, bottom + margin), 0, width)
            Tile(seen, Box(top, bottom, 0, width))
        }
    }

    /** Render one piece, which begins where cells of the layers begin. */
    private fun paint(pass: Pass, picture: Picture, tile: Tile, result: Picture) {
        val (seen, kept) = tile
        var cut = picture.cut(seen)
        var layers = pass.layers
        if (layers.getValue("layers").shape.drop(2) != listOf(1, 1)) {
            cut = filledBlocks(cut, pass.factor)
            val cells = Box(seen.top / pass.factor, parts(seen.bottom, pass.factor),
                seen.left / pass.factor, parts(seen.right, pass.factor))
            layers = layers.mapValues { (_, layer) -> cellsOf(layer, cells) }
        }
        val window = listOf(seen.top, seen.left, picture.height, picture.width).map { it.toFloat() }.toFloatArray()
        val edited = Picture.of(running.run(pass.graph, layers + mapOf(
            "image" to cut.tensor(), "window" to FloatTensor(listOf(4), window),
            "amounts" to pass.rows.amounts, "color" to pass.rows.colors,
        )).getValue("edited"))
        val inside = Box(kept.top - seen.top, kept.bottom - seen.top, kept.left - seen.left, kept.right - seen.left)
        result.paste(edited, inside, kept.left, kept.top)
    }

    private companion object {
        val PASSES = listOf(listOf(SUBJECT, BACKGROUND), listOf(SKIN, "rest"), listOf(MASKED))
    }
}

/** Layers that change nothing and a matte that is subject everywhere, as single pixels. */
private fun neutral(rows: Int): Map<String, Tensor> = mapOf(
    "layers" to FloatTensor(listOf(rows, 4, 1, 1), FloatArray(4 * rows) { if (it % 4 == 0) 1f else 0f }),
    "matte" to FloatTensor(listOf(1, 4, 1, 1), floatArrayOf(0f, 0f, 0f, 1f)),
    "colors" to FloatTensor(listOf(1, 6, 1, 1), FloatArray(6)),
)

/** A box of (n, channels, height, width). */
private fun cellsOf(layer: Tensor, box: Box): Tensor {
    val (count, channels, height, width) = layer.shape
    val from = layer.floats()
    val result = FloatArray(count * channels * box.height * box.width)
    for (row in 0 until count * channels * box.height) {
        val (plane, y) = row / box.height to box.top + row % box.height
        val start = (plane * height + y) * width
        from.copyInto(result, row * box.width, start + box.left, start + box.right)
    }
    return FloatTensor(listOf(count, channels, box.height, box.width), result)
}
