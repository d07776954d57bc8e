package nanoedge.banana.core

/** What a graph's tensor holds, as the manifest spells it, and the bytes of one number. */
enum class DType(val title: String, val bytes: Int) {
    UINT8("uint8", 1),
    INT32("int32", 4),
    FLOAT32("float32", 4);

    companion object {
        fun named(title: String): DType =
            entries.find { it.title == title } ?: throw ArtifactException("This app can't read tensors of type $title.")
    }
}

/** Numbers with a shape, the last axis fastest. The array belongs to whoever made the tensor and is never changed. */
sealed class Tensor {
    abstract val shape: List<Int>
    abstract val dtype: DType

    /** The same numbers as another type; to uint8 they are rounded and kept within 0..255. */
    fun to(wanted: DType): Tensor = when (wanted) {
        dtype -> this
        DType.UINT8 -> ByteTensor(shape, floats().let { from -> ByteArray(from.size) { rounded(from[it]) } })
        DType.INT32 -> IntTensor(shape, floats().let { from -> IntArray(from.size) { from[it].toInt() } })
        DType.FLOAT32 -> FloatTensor(shape, floats())
    }

    /** The same numbers as floats; of a FloatTensor the array itself. */
    fun floats(): FloatArray = when (this) {
        is FloatTensor -> values
        is IntTensor -> FloatArray(values.size) { values[it].toFloat() }
        is ByteTensor -> FloatArray(values.size) { (values[it].toInt() and 255).toFloat() }
    }

    private fun rounded(value: Float): Byte = Math.round(value).coerceIn(0, 255).toByte()
}

/** Bytes count 0..255, though Kotlin's are signed. */
class ByteTensor(override val shape: List<Int>, val values: ByteArray) : Tensor() {
    override val dtype get() = DType.UINT8
}

class IntTensor(override val shape: List<Int>, val values: IntArray) : Tensor() {
    override val dtype get() = DType.INT32
}

class FloatTensor(override val shape: List<Int>, val values: FloatArray) : Tensor() {
    override val dtype get() = DType.FLOAT32
}

/** The artifact's graphs, whatever runs them. */
fun interface Graphs {
    /** Run the graph `name` once; inputs and outputs go by the names in the manifest. Used by one thread at a time. */
    fun run(name: String, inputs: Map<String, Tensor>): Map<String, Tensor>
}
