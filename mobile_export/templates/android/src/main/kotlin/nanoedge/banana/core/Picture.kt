package nanoedge.banana.core

/** RGBA bytes, rows from top to bottom, straight alpha, sRGB. Functions give new pictures unless they say otherwise. */
class Picture(val width: Int, val height: Int, val bytes: ByteArray = ByteArray(4 * width * height)) {
    init {
        require(width > 0 && height > 0 && bytes.size == 4 * width * height) { "$width x $height, ${bytes.size} bytes" }
    }

    /** One channel of a pixel, 0..255. */
    operator fun get(x: Int, y: Int, channel: Int): Int = bytes[4 * (y * width + x) + channel].toInt() and 255

    fun copy(): Picture = Picture(width, height, bytes.copyOf())

    /** The part inside a box; a picture of its own even if the box is everything. */
    fun cut(box: Box): Picture {
        val result = Picture(box.width, box.height)
        result.paste(this, box, 0, 0)
        return result
    }

    /** Put the part `box` of another picture into this one, its corner at left, top. */
    fun paste(other: Picture, box: Box, left: Int, top: Int) {
        for (row in 0 until box.height) {
            val from = 4 * ((box.top + row) * other.width + box.left)
            other.bytes.copyInto(bytes, 4 * ((top + row) * width + left), from, from + 4 * box.width)
        }
    }

    /** Grown to the right and below by repeating the last column and row. */
    fun padded(newWidth: Int, newHeight: Int): Picture {
        if (newWidth == width && newHeight == height) return this
        val result = Picture(newWidth, newHeight)
        result.paste(this, Box(0, height, 0, width), 0, 0)
        for (y in 0 until height) {
            for (x in width until newWidth) result.paste(this, Box(y, y + 1, width - 1, width), x, y)
        }
        for (y in height until newHeight) result.paste(result, Box(height - 1, height, 0, newWidth), 0, y)
        return result
    }

    /** The first three channels alone. */
    fun rgb(): ByteArray = ByteArray(3 * width * height) { bytes[it / 3 * 4 + it % 3] }

    fun tensor(): Tensor = ByteTensor(listOf(1, height, width, 4), bytes)

    companion object {
        /** A picture of a graph's output, (1, height, width, 4). */
        fun of(tensor: Tensor): Picture {
            val bytes = (tensor.to(DType.UINT8) as ByteTensor).values
            return Picture(tensor.shape[2], tensor.shape[1], bytes)
        }
    }
}

/** A mask or another plane of floats, rows from top to bottom; masks are 0..1. */
class Plane(val width: Int, val height: Int, val values: FloatArray = FloatArray(width * height)) {
    operator fun get(x: Int, y: Int): Float = values[y * width + x]

    fun cut(box: Box): Plane {
        val result = Plane(box.width, box.height)
        for (row in 0 until box.height) {
            val from = (box.top + row) * width + box.left
            values.copyInto(result.values, row * box.width, from, from + box.width)
        }
        return result
    }

    fun map(change: (Float) -> Float): Plane = Plane(width, height, FloatArray(values.size) { change(values[it]) })

    fun tensor(): Tensor = FloatTensor(listOf(1, 1, height, width), values)
}

/** Rows top until bottom, columns left until right. */
data class Box(val top: Int, val bottom: Int, val left: Int, val right: Int) {
    val width get() = right - left
    val height get() = bottom - top
}

/** `length` divided by `part`, rounded up. */
fun parts(length: Int, part: Int): Int = (length + part - 1) / part
