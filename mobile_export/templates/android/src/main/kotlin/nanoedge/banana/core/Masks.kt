package nanoedge.banana.core

import kotlin.math.abs

/**
 * A mask for a photo of width x height, 1 where the edit belongs. A picture with transparent pixels marks by
 * transparency, another one by white. Throws ImageException for other proportions, or if it marks nothing.
 */
fun maskOf(picture: Picture, width: Int, height: Int, limits: MaskLimits): Plane {
    val across = picture.width.toLong() * height
    val down = picture.height.toLong() * width
    if (abs(across - down) > maxOf(across, down) * limits.tolerance) {
        throw ImageException(
            "The mask has other proportions than the photo. Got: ${picture.width} x ${picture.height}. " +
                "Allowed: $width x $height.",
        )
    }
    val scaled = resized(gray(picture), width, height, Filter.BILINEAR)
    val values = FloatArray(width * height) { (scaled.bytes[4 * it].toInt() and 255).toFloat() }
    if (values.max() < limits.leastMarked) {
        throw ImageException("The mask marks nothing. Make the area to edit transparent, or white on black.")
    }
    return Plane(width, height, values).map { it / 255f }
}

/** What marks, 0..255, in all four channels. */
private fun gray(picture: Picture): Picture {
    val transparent = (3 until picture.bytes.size step 4).any { picture.bytes[it].toInt() != -1 }
    val result = Picture(picture.width, picture.height)
    for (y in 0 until picture.height) for (x in 0 until picture.width) {
        val marked = if (transparent) 255 - picture[x, y, 3] else luma(picture, x, y)
        result.bytes.fill(marked.toByte(), 4 * (y * picture.width + x), 4 * (y * picture.width + x) + 4)
    }
    return result
}

/** ITU-R 601 in fixed point, as Pillow's mode L. */
private fun luma(picture: Picture, x: Int, y: Int): Int =
    (picture[x, y, 0] * 19595 + picture[x, y, 1] * 38470 + picture[x, y, 2] * 7471 + 0x8000) shr 16
