// LiteRT's Java interface, with the graphs run by whoever is at the other end of the standard streams.
@file:Suppress("UNUSED_PARAMETER", "unused")

package org.tensorflow.lite

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import nanoedge.banana.check.Conversation
import nanoedge.banana.check.Message
import nanoedge.banana.check.textTensor
import nanoedge.banana.core.ByteTensor
import nanoedge.banana.core.DType
import nanoedge.banana.core.FloatTensor
import nanoedge.banana.core.IntTensor
import nanoedge.banana.core.Tensor as Numbers

class Tensor(private val name: String, private val dtype: DType, private val shape: IntArray) {
    fun name(): String = name
    fun shape(): IntArray = shape
    fun numBytes(): Int = shape.fold(dtype.bytes) { product, side -> product * side }
    internal fun numbers(buffer: ByteBuffer): Numbers {
        require(buffer.isDirect && buffer.order() == ByteOrder.nativeOrder() && buffer.remaining() == numBytes()) {
            "Cannot copy to a TensorFlowLite tensor ($name) with ${numBytes()} bytes from a Java Buffer with " +
                "${buffer.remaining()} bytes."
        }
        val (sides, count) = shape.toList() to numBytes() / dtype.bytes
        return when (dtype) {
            DType.UINT8 -> ByteTensor(sides, ByteArray(count).also { buffer.get(it) })
            DType.INT32 -> IntTensor(sides, IntArray(count).also { buffer.asIntBuffer().get(it) })
            DType.FLOAT32 -> FloatTensor(sides, FloatArray(count).also { buffer.asFloatBuffer().get(it) })
        }
    }

    internal fun fill(buffer: ByteBuffer, numbers: Numbers) {
        require(buffer.remaining() == numBytes()) { name }
        when (numbers) {
            is ByteTensor -> buffer.put(numbers.values)
            is IntTensor -> buffer.asIntBuffer().put(numbers.values)
            is FloatTensor -> buffer.asFloatBuffer().put(numbers.values)
        }
    }
}

/** Opens a file by its digest; describes its signatures as the real file has them. */
class Interpreter(file: ByteBuffer, options: Options) : AutoCloseable {
    class Options {
        fun setNumThreads(threads: Int): Options = this
    }

    private val digest = MessageDigest.getInstance("SHA-256").run {
        update(file.duplicate())
        digest().joinToString("") { "%02x".format(it) }
    }
    private val described = ask("describe").text("signatures")!!.lines().map { it.split(" ") }

    val signatureKeys: Array<String> get() = described.map { it[0] }.distinct().toTypedArray()
    fun getSignatureInputs(key: String): Array<String> = names(key, "input")
    fun getSignatureOutputs(key: String): Array<String> = names(key, "output")
    fun getInputTensorFromSignature(name: String, key: String): Tensor = tensor(key, "input", name)
    fun getOutputTensorFromSignature(name: String, key: String): Tensor = tensor(key, "output", name)

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, key: String) {
        require(inputs.keys == getSignatureInputs(key).toSet()) { "Invalid input names: ${inputs.keys}" }
        val numbers = inputs.mapValues { (name, buffer) -> tensor(key, "input", name).numbers(buffer as ByteBuffer) }
        val answer = ask("run", key, tensors = numbers)
        for ((name, buffer) in outputs) {
            tensor(key, "output", name).fill(buffer as ByteBuffer, answer.tensors.getValue(name))
        }
    }

    override fun close() = Unit

    private fun names(key: String, kind: String) =
        described.filter { it[0] == key && it[1] == kind }.map { it[2] }.toTypedArray()

    private fun tensor(key: String, kind: String, name: String): Tensor {
        val found = described.find { it.take(3) == listOf(key, kind, name) }
        requireNotNull(found) { "Invalid $kind name $name for the signature $key" }
        return Tensor(name, DType.named(found[3]), found[4].split("x").map { it.toInt() }.toIntArray())
    }

    private fun ask(vararg words: String, tensors: Map<String, Numbers> = emptyMap()): Message =
        other.ask(Message(listOf("interpreter", digest, *words), tensors + ("-" to textTensor(""))))

    private companion object {
        val other get() = Conversation.standard
    }
}
