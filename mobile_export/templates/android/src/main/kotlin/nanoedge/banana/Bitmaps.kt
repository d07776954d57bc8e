package nanoedge.banana

import android.graphics.Bitmap
import nanoedge.banana.core.ImageException
import nanoedge.banana.core.Picture

/** Rows that are converted at once: the copy between stays small for photos of any size. */
private const val ROWS = 32

/** The pixels of a bitmap in sRGB with straight alpha, as `getPixels` gives them. */
internal fun pictureOf(bitmap: Bitmap): Picture {
    if (bitmap.isRecycled) throw ImageException("The bitmap was recycled before it could be edited.")
    val readable = if (bitmap.config == Bitmap.Config.HARDWARE) software(bitmap) else bitmap
    val picture = Picture(bitmap.width, bitmap.height)
    val colors = IntArray(ROWS * bitmap.width)
    for (top in 0 until bitmap.height step ROWS) {
        val rows = minOf(ROWS, bitmap.height - top)
        readable.getPixels(colors, 0, bitmap.width, 0, top, bitmap.width, rows)
        for (pixel in 0 until rows * bitmap.width) {
            val (color, at) = colors[pixel] to 4 * (top * bitmap.width + pixel)
            picture.bytes[at] = (color shr 16).toByte()
            picture.bytes[at + 1] = (color shr 8).toByte()
            picture.bytes[at + 2] = color.toByte()
            picture.bytes[at + 3] = (color ushr 24).toByte()
        }
    }
    return picture
}

/** A new bitmap, ARGB_8888. */
internal fun bitmapOf(picture: Picture): Bitmap {
    val bitmap = Bitmap.createBitmap(picture.width, picture.height, Bitmap.Config.ARGB_8888)
    val colors = IntArray(ROWS * picture.width)
    for (top in 0 until picture.height step ROWS) {
        val rows = minOf(ROWS, picture.height - top)
        for (pixel in 0 until rows * picture.width) {
            val (x, y) = pixel % picture.width to top + pixel / picture.width
            val alpha = picture[x, y, 3] shl 24
            colors[pixel] = alpha or (picture[x, y, 0] shl 16) or (picture[x, y, 1] shl 8) or picture[x, y, 2]
        }
        bitmap.setPixels(colors, 0, picture.width, 0, top, picture.width, rows)
    }
    return bitmap
}

/** Pixels in graphics memory can't be read; a copy can. */
private fun software(bitmap: Bitmap): Bitmap = bitmap.copy(Bitmap.Config.ARGB_8888, false)
    ?: throw ImageException("The bitmap can't be copied out of graphics memory.")
