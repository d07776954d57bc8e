package nanoedge.banana.core

/** Mends a piece whose sides are multiples of the tiles' grid; the hole marks with 1 what must be filled. */
internal fun interface Mending {
    fun run(piece: Picture, hole: Plane): Picture
}

/** Gets the share that is done, 0..1, before each tile; may throw to stop the work. */
internal typealias Shares = (Double) -> Unit

/** Mending pixels with a restoration graph: tile by tile over any size, and inside a marked area. */
internal class Restoration(private val sizes: RestorationSizes, private val shares: Shares) {
    /** Run the graph over a whole picture. */
    fun mended(picture: Picture, mending: Mending, hole: Plane? = null): Picture {
        val result = Picture(picture.width, picture.height)
        val cover = tiles(picture.height, picture.width, sizes.tile, sizes.halo, sizes.multiple)
        cover.forEachIndexed { done, tile ->
            shares(done.toDouble() / cover.size)
            val (seen, kept) = tile
            val piece = filledBlocks(picture.cut(seen), sizes.multiple)
            val whole = mending.run(piece, hole?.cut(seen).grown(piece))
            val inside = Box(kept.top - seen.top, kept.bottom - seen.top, kept.left - seen.left, kept.right - seen.left)
            result.paste(whole, inside, kept.left, kept.top)
        }
        return result
    }

    /**
     * Mend the masked area alone, in the box around it. Above 0, `fill` is the opacity with which what the graph puts
     * in place of the marked pixels covers them; at 0 the graph mends what it sees there.
     */
    fun mendedInside(picture: Picture, mending: Mending, mask: Plane, fill: Double): Picture {
        val box = around(mask)
        val piece = picture.cut(box)
        val marked = mask.cut(box)
        val factor = if (fill > 0) maxOf(1, parts(thickness(marked), sizes.hole)) else 1
        val hole = marked.map { if (it > sizes.marked) 1f else 0f }
        val (small, smallHole) = if (factor > 1) reduced(piece, hole, factor) else piece to hole
        var whole = mended(small, mending, if (fill > 0) smallHole else null)
        if (factor > 1) whole = resizedTo(whole, piece.width, piece.height, alpha = true)
        // what is marked even by half is replaced, or a rim of the old thing would stay
        val share = if (fill > 0) marked.map { (fill * (it * 2f).coerceIn(0f, 1f)).toFloat() } else marked
        val result = picture.copy()
        result.paste(blended(piece, whole, share), Box(0, box.height, 0, box.width), box.left, box.top)
        return result
    }

    /** The box of what is marked, with half its longer side around it, or at least `sizes.around` pixels. */
    private fun around(mask: Plane): Box {
        val box = marked(mask, 0f) ?: throw ImageException("The mask marks nothing.")
        val more = maxOf(sizes.around, maxOf(box.height, box.width) / 2)
        return Box(maxOf(0, box.top - more), minOf(mask.height, box.bottom + more),
            maxOf(0, box.left - more), minOf(mask.width, box.right + more))
    }

    /** Picture and hole, smaller by a factor. What any part of is marked is hole; colours come from what is not. */
    private fun reduced(piece: Picture, hole: Plane, factor: Int): Pair<Picture, Plane> {
        val known = piece.copy()
        for (at in hole.values.indices) known.bytes[4 * at + 3] = if (hole.values[at] > 0f) 0 else -1
        val small = resizedTo(known, parts(piece.width, factor), parts(piece.height, factor), alpha = true)
        val left = Plane(small.width, small.height)
        for (at in left.values.indices) {
            if ((small.bytes[4 * at + 3].toInt() and 255) < sizes.known) left.values[at] = 1f
            small.bytes[4 * at + 3] = -1
        }
        return small to left
    }
}

/** Repeat the last row and column until both sides are multiples of `multiple`. */
fun filledBlocks(picture: Picture, multiple: Int): Picture =
    picture.padded(parts(picture.width, multiple) * multiple, parts(picture.height, multiple) * multiple)

/** Side of the largest square that is marked all over: of the one that ends at a pixel, from its three neighbours'. */
internal fun thickness(mask: Plane): Int {
    var above = IntArray(mask.width + 1)
    var largest = 0
    for (y in 0 until mask.height) {
        val here = IntArray(mask.width + 1)
        for (x in 0 until mask.width) {
            if (mask[x, y] > 0.5f) here[x + 1] = 1 + minOf(above[x], above[x + 1], here[x])
            largest = maxOf(largest, here[x + 1])
        }
        above = here
    }
    return largest
}

/** The hole of a piece that was padded: nothing is marked in what was added, and nothing at all without a hole. */
private fun Plane?.grown(piece: Picture): Plane {
    val result = Plane(piece.width, piece.height)
    if (this != null) {
        for (y in 0 until height) values.copyInto(result.values, y * piece.width, y * width, (y + 1) * width)
    }
    return result
}
