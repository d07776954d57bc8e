package nanoedge.banana.core

import kotlin.math.ceil
import kotlin.math.floor

/*
 * What happens to a whole picture at once and is no graph: turning, mirroring, cropping, borders, blocks, enlarging,
 * blending. Amounts mean what the vocabulary says. Masks of any size cover the whole picture.
 */

/** Turn clockwise by `amount` half turns, -1..1, rounded to quarter turns. */
fun turned(picture: Picture, amount: Double): Picture = when (Math.floorMod(Math.rint(2 * amount).toInt(), 4)) {
    1 -> moved(picture, picture.height, picture.width) { x, y -> y to picture.height - 1 - x }
    2 -> moved(picture, picture.width, picture.height) { x, y -> picture.width - 1 - x to picture.height - 1 - y }
    3 -> moved(picture, picture.height, picture.width) { x, y -> picture.width - 1 - y to x }
    else -> picture
}

fun mirrored(picture: Picture, horizontal: Boolean): Picture = moved(picture, picture.width, picture.height) { x, y ->
    if (horizontal) picture.width - 1 - x to y else x to picture.height - 1 - y
}

/** Cut `amount`/2 of the width and of the height away, half of it on each side; at least one pixel is left. */
fun croppedMiddle(picture: Picture, amount: Double): Picture {
    val (rows, columns) = listOf(picture.height, picture.width).map { minOf((it * amount / 4).toInt(), (it - 1) / 2) }
    return picture.cut(Box(rows, picture.height - rows, columns, picture.width - columns))
}

/** Cut to the box around a mask, with a margin of `margin` * (1 - amount) of its sides; null for an empty mask. */
fun croppedAround(picture: Picture, mask: Plane, amount: Double, margin: Double): Picture? {
    val box = marked(mask, 0.5f) ?: return null
    fun bounds(first: Int, last: Int, length: Int, side: Int): Pair<Int, Int> {
        val (start, end) = listOf(first.toDouble() / length, last.toDouble() / length)
        val around = margin * (1 - amount) * (end - start)
        return (maxOf(0.0, start - around) * side).toInt() to ceil(minOf(1.0, end + around) * side).toInt()
    }
    val (left, right) = bounds(box.left, box.right, mask.width, picture.width)
    val (top, bottom) = bounds(box.top, box.bottom, mask.height, picture.height)
    return picture.cut(Box(top, bottom, left, right))
}

/** Paint a border over the edge, `width` of the short side wide at amount 1; `color` is `#rrggbb`. */
fun framed(picture: Picture, amount: Double, width: Double, color: String): Picture {
    val result = picture.copy()
    val border = maxOf(1, Math.rint(width * amount * minOf(picture.width, picture.height)).toInt())
    val paint = channels(color).map { it.toByte() } + (-1).toByte()
    for (y in 0 until picture.height) for (x in 0 until picture.width) {
        val inside = x in border until picture.width - border && y in border until picture.height - border
        if (!inside) for (channel in 0..3) result.bytes[4 * (y * picture.width + x) + channel] = paint[channel]
    }
    return result
}

/** Square blocks of one colour and `block` pixels; with a mask only blocks that it covers by more than `covered`. */
fun pixelated(picture: Picture, block: Int, mask: Plane?, covered: Double): Picture {
    val across = parts(picture.width, block)
    val down = parts(picture.height, block)
    val padded = premultiplied(picture.padded(across * block, down * block))
    val coarse = straight(resized(padded, across, down, Filter.BOX))
    val chosen = mask?.let { resized(it, across, down, Filter.BOX) }
    val result = picture.copy()
    for (y in 0 until picture.height) for (x in 0 until picture.width) {
        val (column, row) = x / block to y / block
        if (chosen != null && chosen[column, row] <= covered) continue
        result.paste(coarse, Box(row, row + 1, column, column + 1), x, y)
    }
    return result
}

/** What `upscale` does to both sides, before `restore` sharpens the result. */
const val ENLARGEMENT = 2

/** Bicubic enlargement. */
fun enlarged(picture: Picture): Picture =
    straight(resized(premultiplied(picture), ENLARGEMENT * picture.width, ENLARGEMENT * picture.height, Filter.BICUBIC))

/** `above` where the mask is 1, `below` where it is 0; a mask of another size is enlarged smoothly. */
fun blended(below: Picture, above: Picture, mask: Plane): Picture {
    val shares = resized(mask, below.width, below.height, Filter.BILINEAR).values
    val result = Picture(below.width, below.height)
    for (at in result.bytes.indices) {
        val share = shares[at shr 2]
        val mixed = (below.bytes[at].toInt() and 255) * (1f - share) + (above.bytes[at].toInt() and 255) * share
        result.bytes[at] = floor(mixed + 0.5f).toInt().toByte()
    }
    return result
}

/** The box around all that is more than `least`, or null. */
fun marked(mask: Plane, least: Float): Box? {
    val rows = (0 until mask.height).filter { y -> (0 until mask.width).any { mask[it, y] > least } }
    val columns = (0 until mask.width).filter { x -> (0 until mask.height).any { mask[x, it] > least } }
    return if (rows.isEmpty()) null else Box(rows.first(), rows.last() + 1, columns.first(), columns.last() + 1)
}

/** A picture whose pixel (x, y) is the old one's at `source(x, y)`. */
private inline fun moved(picture: Picture, width: Int, height: Int, source: (Int, Int) -> Pair<Int, Int>): Picture {
    val result = Picture(width, height)
    for (y in 0 until height) for (x in 0 until width) {
        val (fromX, fromY) = source(x, y)
        picture.bytes.copyInto(result.bytes, 4 * (y * width + x), 4 * (fromY * picture.width + fromX),
            4 * (fromY * picture.width + fromX) + 4)
    }
    return result
}
