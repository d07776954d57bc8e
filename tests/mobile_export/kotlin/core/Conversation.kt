package nanoedge.banana.check

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.InputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import nanoedge.banana.core.ByteTensor
import nanoedge.banana.core.DType
import nanoedge.banana.core.FloatTensor
import nanoedge.banana.core.IntTensor
import nanoedge.banana.core.Tensor

/** A line of words and some tensors; see conversation.py, which stands at the other end. */
class Message(val words: List<String>, val tensors: Map<String, Tensor> = emptyMap()) {
    fun text(name: String): String? = (tensors[name] as ByteTensor?)?.values?.decodeToString()
}

fun textTensor(text: String): Tensor = text.toByteArray().let { ByteTensor(listOf(it.size), it) }

class Conversation(input: InputStream, output: OutputStream) {
    private val input = DataInputStream(input.buffered())
    private val output = DataOutputStream(output.buffered())

    fun ask(question: Message): Message {
        send(question)
        return receive() ?: error("the other end closed")
    }

    fun send(message: Message) {
        line(message.words.joinToString(" ") + " ${message.tensors.size}")
        for ((name, tensor) in message.tensors) {
            line("$name ${tensor.dtype.title} ${tensor.shape.joinToString("x")}")
            output.write(bytes(tensor))
        }
        output.flush()
    }

    fun receive(): Message? {
        val words = readLine()?.split(" ") ?: return null
        val tensors = (0 until words.last().toInt()).associate {
            val (name, dtype, sides) = readLine()!!.split(" ")
            name to tensor(DType.named(dtype), sides.split("x").map { it.toInt() })
        }
        return Message(words.dropLast(1), tensors)
    }

    private fun line(text: String) = output.write("$text\n".toByteArray())

    private fun readLine(): String? {
        val built = StringBuilder()
        while (true) {
            when (val byte = input.read()) {
                -1 -> return null
                '\n'.code -> return built.toString()
                else -> built.append(byte.toChar())
            }
        }
    }

    private fun tensor(dtype: DType, shape: List<Int>): Tensor {
        val count = shape.fold(1) { product, side -> product * side }
        val bytes = ByteArray(count * dtype.bytes).also(input::readFully)
        val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
        return when (dtype) {
            DType.UINT8 -> ByteTensor(shape, bytes)
            DType.INT32 -> IntTensor(shape, IntArray(count).also(buffer.asIntBuffer()::get))
            DType.FLOAT32 -> FloatTensor(shape, FloatArray(count).also(buffer.asFloatBuffer()::get))
        }
    }

    private fun bytes(tensor: Tensor): ByteArray {
        val count = tensor.shape.fold(1) { product, side -> product * side }
        val buffer = ByteBuffer.allocate(count * tensor.dtype.bytes).order(ByteOrder.LITTLE_ENDIAN)
        when (tensor) {
            is ByteTensor -> buffer.put(tensor.values)
            is IntTensor -> buffer.asIntBuffer().put(tensor.values)
            is FloatTensor -> buffer.asFloatBuffer().put(tensor.values)
        }
        return buffer.array()
    }

    companion object {
        /** By the standard streams; all else that is printed to the standard output goes to the standard error. */
        val standard by lazy {
            val output = System.out
            System.setOut(System.err)
            Conversation(System.`in`, output)
        }
    }
}
