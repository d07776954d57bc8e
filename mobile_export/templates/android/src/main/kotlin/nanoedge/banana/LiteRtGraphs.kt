package nanoedge.banana

import java.io.Closeable
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import nanoedge.banana.core.ArtifactException
import nanoedge.banana.core.ByteTensor
import nanoedge.banana.core.Component
import nanoedge.banana.core.DType
import nanoedge.banana.core.EngineException
import nanoedge.banana.core.FloatTensor
import nanoedge.banana.core.Graphs
import nanoedge.banana.core.IntTensor
import nanoedge.banana.core.Manifest
import nanoedge.banana.core.Signature
import nanoedge.banana.core.Tensor
import nanoedge.banana.core.sizesOf
import nanoedge.banana.core.smallest
import org.tensorflow.lite.Interpreter

/** The artifact's graphs on LiteRT. `asset` opens one of its files. */
internal class LiteRtGraphs(private val manifest: Manifest, private val asset: (String) -> InputStream) :
    Graphs, Closeable {
    private val opened = mutableMapOf<String, OpenGraph>()

    @Synchronized
    override fun run(name: String, inputs: Map<String, Tensor>): Map<String, Tensor> = try {
        opened.getOrPut(name) { OpenGraph(manifest.component(name), Interpreter(file(name), options())) }.run(inputs)
    } catch (error: IllegalArgumentException) {
        throw EngineException("The graph $name could not be run on this device: ${error.message}", error)
    } catch (error: IllegalStateException) {
        throw EngineException("The graph $name could not be run on this device: ${error.message}", error)
    }

    @Synchronized
    override fun close() {
        opened.values.forEach(OpenGraph::close)
        opened.clear()
    }

    private fun file(name: String): ByteBuffer {
        val file = manifest.component(name).file
        val bytes = try {
            asset(file).use(InputStream::readBytes)
        } catch (error: IOException) {
            throw ArtifactException("The app lacks the model's file $file.", error)
        }
        return buffer(bytes.size).apply { put(bytes).rewind() }
    }

    private fun options(): Interpreter.Options {
        val cores = Runtime.getRuntime().availableProcessors()
        return Interpreter.Options().setNumThreads(minOf(cores, MOST_THREADS))
    }

    private companion object {
        /** Phones have slow cores beside the fast ones, which only hold them up. */
        const val MOST_THREADS = 4
    }
}

/** An interpreter, and the sizes that its file has. */
private class OpenGraph(private val component: Component, private val interpreter: Interpreter) :
    Closeable {
    private val signatures = interpreter.signatureKeys.map { key ->
        val inputs = interpreter.getSignatureInputs(key)
            .associateWith { interpreter.getInputTensorFromSignature(it, key).shape().toList() }
        val outputs = interpreter.getSignatureOutputs(key)
            .associateWith { interpreter.getOutputTensorFromSignature(it, key).shape().toList() }
        Signature(key, component, inputs + outputs)
    }

    fun run(inputs: Map<String, Tensor>): Map<String, Tensor> {
        val sizes = sizesOf(component, inputs)
        val signature = smallest(signatures, sizes, component.name)
        val outputs = component.outputs.associateWith { spec ->
            buffer(interpreter.getOutputTensorFromSignature(spec.name, signature.name).numBytes())
        }
        interpreter.runSignature(
            signature.fit(inputs, sizes).mapValues { (_, tensor) -> buffer(tensor) },
            outputs.mapKeys { (spec, _) -> spec.name }, signature.name,
        )
        val tensors = outputs.entries.associate { (spec, buffer) ->
            val shape = interpreter.getOutputTensorFromSignature(spec.name, signature.name).shape().toList()
            spec.name to tensor(spec.dtype, shape, buffer)
        }
        return signature.cut(tensors, sizes)
    }

    override fun close() = interpreter.close()
}

private fun buffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

private fun buffer(tensor: Tensor): ByteBuffer = when (tensor) {
    is ByteTensor -> buffer(tensor.values.size).apply { put(tensor.values).rewind() }
    is IntTensor -> buffer(4 * tensor.values.size).apply { asIntBuffer().put(tensor.values) }
    is FloatTensor -> buffer(4 * tensor.values.size).apply { asFloatBuffer().put(tensor.values) }
}

private fun tensor(dtype: DType, shape: List<Int>, buffer: ByteBuffer): Tensor {
    buffer.rewind()
    return when (dtype) {
        DType.UINT8 -> ByteTensor(shape, ByteArray(buffer.capacity()).also { buffer.get(it) })
        DType.INT32 -> IntTensor(shape, IntArray(buffer.capacity() / 4).also { buffer.asIntBuffer().get(it) })
        DType.FLOAT32 -> FloatTensor(shape, FloatArray(buffer.capacity() / 4).also { buffer.asFloatBuffer().get(it) })
    }
}
