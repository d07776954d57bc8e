package nanoedge.banana.core

/** One piece of a picture: what a graph looks at, and the part of the result that is used. */
data class Tile(val seen: Box, val kept: Box)

/**
 * Cover a picture with tiles that see at most `side` pixels, `halo` of them beyond what is kept. Tiles begin at
 * multiples of `multiple`, so that a network with strides sees the same grid in all of them.
 */
fun tiles(height: Int, width: Int, side: Int, halo: Int, multiple: Int): List<Tile> =
    spans(height, side, halo, multiple).flatMap { rows ->
        spans(width, side, halo, multiple).map { columns ->
            Tile(
                Box(maxOf(0, rows.first - halo), minOf(height, rows.second + halo),
                    maxOf(0, columns.first - halo), minOf(width, columns.second + halo)),
                Box(rows.first, rows.second, columns.first, columns.second),
            )
        }
    }

/** Cut rows into equal strips (top, bottom) of about `pixels` pixels; inner borders are multiples of `multiple`. */
fun strips(height: Int, width: Int, pixels: Int, multiple: Int): List<Pair<Int, Int>> {
    val count = ((height.toLong() * width + pixels - 1) / pixels).toInt()
    return equal(height, maxOf(1, parts(height, count * multiple)) * multiple)
}

private fun spans(length: Int, side: Int, halo: Int, multiple: Int): List<Pair<Int, Int>> {
    if (length <= side) return listOf(0 to length)
    return equal(length, parts(length, parts(length, side - 2 * halo) * multiple) * multiple)
}

private fun equal(length: Int, step: Int): List<Pair<Int, Int>> =
    (0 until length step step).map { it to minOf(it + step, length) }
