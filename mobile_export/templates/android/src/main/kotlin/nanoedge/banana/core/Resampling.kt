package nanoedge.banana.core

import kotlin.math.abs
import kotlin.math.ceil

/*
 * Resizing with Pillow's own arithmetic, which the networks were trained on: for each new pixel a row of weights,
 * 8-bit pixels in fixed point with the rounding of Pillow's Resample.c and Reduce.c, first along rows, then columns.
 */

/** How far a filter looks, in pixels of the smaller picture, and what it weighs at a distance. */
enum class Filter(val support: Double) {
    BOX(0.5) {
        override fun weight(x: Double) = if (x > -0.5 && x <= 0.5) 1.0 else 0.0
    },
    BILINEAR(1.0) {
        override fun weight(x: Double) = (1.0 - abs(x)).coerceAtLeast(0.0)
    },
    BICUBIC(2.0) {
        override fun weight(x: Double): Double {
            val d = abs(x)
            return when {
                d < 1.0 -> ((SHARPNESS + 2.0) * d - (SHARPNESS + 3.0)) * d * d + 1
                d < 2.0 -> (((d - 5) * d + 8) * d - 4) * SHARPNESS
                else -> 0.0
            }
        }
    };

    abstract fun weight(x: Double): Double
}

private const val SHARPNESS = -0.5
private const val WEIGHT_BITS = 22
private const val REDUCING_GAP = 2.0

/** For each of `size` new pixels: the first old one, and the weights from there on. */
internal class Taps(val first: IntArray, val weights: Array<DoubleArray>) {
    val size get() = first.size

    /** The weights in fixed point. */
    val whole: Array<IntArray> by lazy {
        Array(size) { new ->
            val row = weights[new]
            IntArray(row.size) { Math.round(row[it] * (1 shl WEIGHT_BITS)).toInt() }
        }
    }
}

/** Weights that bring 0 until `end` (at most `length`, may be a fraction) of an axis to `size` pixels. */
internal fun taps(length: Int, end: Double, size: Int, filter: Filter): Taps {
    val scale = end / size
    val stretch = scale.coerceAtLeast(1.0)
    val support = filter.support * stretch
    val first = IntArray(size)
    val weights = Array(size) { new ->
        val center = (new + 0.5) * scale
        first[new] = (center - support + 0.5).toInt().coerceAtLeast(0)
        val last = (center + support + 0.5).toInt().coerceAtMost(length)
        val raw = DoubleArray(last - first[new]) { filter.weight((it + first[new] - center + 0.5) / stretch) }
        val sum = raw.sum()
        DoubleArray(raw.size) { raw[it] / sum }
    }
    return Taps(first, weights)
}

/** Resize all four channels alike; hidden colours of transparent pixels count: premultiply before where it matters. */
fun resized(picture: Picture, width: Int, height: Int, filter: Filter): Picture =
    resampled(picture, picture.width.toDouble(), picture.height.toDouble(), width, height, filter)

/**
 * Bilinear, antialiased, by way of a reduced copy where that is much faster. With `alpha` hidden colours don't bleed;
 * without it the fourth channel isn't read and comes back as 255.
 */
fun resizedTo(picture: Picture, width: Int, height: Int, alpha: Boolean = false): Picture {
    val source = if (alpha) premultiplied(picture) else picture
    val across = (source.width / (width * REDUCING_GAP)).toInt().coerceAtLeast(1)
    val down = (source.height / (height * REDUCING_GAP)).toInt().coerceAtLeast(1)
    val small = reduced(source, across, down)
    val endX = source.width.toDouble() / across
    val result = resampled(small, endX, source.height.toDouble() / down, width, height, Filter.BILINEAR)
    return if (alpha) straight(result) else result.copy().also { opaque(it) }
}

/** The mean of each block of `across` x `down` pixels; blocks at the edges may be partial. */
fun reduced(picture: Picture, across: Int, down: Int): Picture {
    if (across == 1 && down == 1) return picture
    val result = Picture(parts(picture.width, across), parts(picture.height, down))
    for (y in 0 until result.height) {
        val rows = y * down until minOf((y + 1) * down, picture.height)
        for (x in 0 until result.width) {
            val columns = x * across until minOf((x + 1) * across, picture.width)
            val count = (rows.last - rows.first + 1) * (columns.last - columns.first + 1)
            for (channel in 0..3) {
                var sum = (count / 2).toLong()
                for (row in rows) for (column in columns) sum += picture[column, row, channel]
                result.bytes[4 * (y * result.width + x) + channel] = (sum * ((1L shl 24) / count) shr 24).toByte()
            }
        }
    }
    return result
}

/** Resize floats, without rounding between. */
fun resized(plane: Plane, width: Int, height: Int, filter: Filter): Plane {
    val rows = if (width == plane.width) plane else Plane(width, plane.height).also { wide ->
        val taps = taps(plane.width, plane.width.toDouble(), width, filter)
        for (y in 0 until plane.height) sums(plane.values, y * plane.width, 1, taps, wide.values, y * width, 1)
    }
    if (height == plane.height) return rows
    val taps = taps(plane.height, plane.height.toDouble(), height, filter)
    return Plane(width, height).also { for (x in 0 until width) sums(rows.values, x, width, taps, it.values, x, width) }
}

/** Colours times alpha, as Pillow's mode RGBa. */
fun premultiplied(picture: Picture): Picture = changed(picture) { color, alpha ->
    val product = color * alpha + 128
    (product + (product shr 8)) shr 8
}

/** The inverse of `premultiplied`, up to rounding. */
fun straight(picture: Picture): Picture = changed(picture) { color, alpha ->
    if (alpha == 0 || alpha == 255) color else (255 * color / alpha).coerceAtMost(255)
}

private fun opaque(picture: Picture) {
    for (at in 3 until picture.bytes.size step 4) picture.bytes[at] = -1
}

private inline fun changed(picture: Picture, change: (Int, Int) -> Int): Picture {
    val result = picture.copy()
    for (at in picture.bytes.indices) {
        val alpha = picture.bytes[at or 3].toInt() and 255
        if (at and 3 != 3) result.bytes[at] = change(picture.bytes[at].toInt() and 255, alpha).toByte()
    }
    return result
}

private fun resampled(source: Picture, endX: Double, endY: Double, width: Int, height: Int, filter: Filter): Picture {
    val whole = endX == source.width.toDouble() && width == source.width
    val rows = if (whole) source else Picture(width, source.height).also { wide ->
        val taps = taps(source.width, endX, width, filter)
        for (y in 0 until source.height) sums(source, y * source.width, 1, taps, wide, y * width, 1)
    }
    if (endY == source.height.toDouble() && height == source.height) return rows
    val taps = taps(source.height, endY, height, filter)
    return Picture(width, height).also { for (x in 0 until width) sums(rows, x, width, taps, it, x, width) }
}

/** One line of pixels: from `start` on every `step`-th pixel is read, and likewise written. */
private fun sums(from: Picture, start: Int, step: Int, taps: Taps, to: Picture, target: Int, stride: Int) {
    for (new in 0 until taps.size) {
        for (channel in 0..3) {
            var sum = 1 shl (WEIGHT_BITS - 1)
            var at = 4 * (start + taps.first[new] * step) + channel
            for (weight in taps.whole[new]) {
                sum += (from.bytes[at].toInt() and 255) * weight
                at += 4 * step
            }
            to.bytes[4 * (target + new * stride) + channel] = (sum shr WEIGHT_BITS).coerceIn(0, 255).toByte()
        }
    }
}

private fun sums(from: FloatArray, start: Int, step: Int, taps: Taps, to: FloatArray, target: Int, stride: Int) {
    for (new in 0 until taps.size) {
        var sum = 0.0
        var at = start + taps.first[new] * step
        for (weight in taps.weights[new]) {
            sum += from[at] * weight
            at += step
        }
        to[target + new * stride] = sum.toFloat()
    }
}
