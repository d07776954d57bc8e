// Pixels as `getPixels` shows them: ARGB in an integer, straight alpha.
@file:Suppress("UNUSED_PARAMETER", "unused")

package android.graphics

import java.io.InputStream

class Bitmap private constructor(val width: Int, val height: Int, val config: Config) {
    enum class Config { ARGB_8888, RGB_565, HARDWARE }

    private val colors = IntArray(width * height)
    val isRecycled = false

    fun getPixels(into: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        check(config != Config.HARDWARE) { "pixels in graphics memory can't be read" }
        for (row in 0 until height) {
            colors.copyInto(into, offset + row * stride, (y + row) * this.width + x, (y + row) * this.width + x + width)
        }
    }

    fun setPixels(from: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        for (row in 0 until height) {
            from.copyInto(colors, (y + row) * this.width + x, offset + row * stride, offset + row * stride + width)
        }
    }

    fun copy(config: Config, mutable: Boolean): Bitmap? =
        Bitmap(width, height, config).also { colors.copyInto(it.colors) }

    companion object {
        fun createBitmap(width: Int, height: Int, config: Config): Bitmap = Bitmap(width, height, config)
    }
}

object BitmapFactory {
    fun decodeStream(stream: InputStream): Bitmap? {
        val image = javax.imageio.ImageIO.read(stream) ?: return null
        val bitmap = Bitmap.createBitmap(image.width, image.height, Bitmap.Config.ARGB_8888)
        val colors = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
        bitmap.setPixels(colors, 0, image.width, 0, 0, image.width, image.height)
        return bitmap
    }
}
