package nanoedge.banana

import java.io.Closeable
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import nanoedge.banana.core.ArtifactException
import nanoedge.banana.core.ByteTensor
import nanoedge.banana.core.DType
import nanoedge.banana.core.EngineException
import nanoedge.banana.core.FloatTensor
import nanoedge.banana.core.Graphs
import nanoedge.banana.core.IntTensor
import nanoedge.banana.core.Manifest
import nanoedge.banana.core.Tensor
import nanoedge.banana.core.TensorSpec
import org.tensorflow.lite.Interpreter

/** The artifact's graphs on LiteRT. `asset` opens one of its files. */
internal class LiteRtGraphs(private val manifest: Manifest, private val asset: (String) -> InputStream) :
    Graphs, Closeable {
    private val interpreters = mutableMapOf<String, Interpreter>()

    @Synchronized
    override fun run(name: String, inputs: Map<String, Tensor>): Map<String, Tensor> = try {
        val interpreter = interpreters.getOrPut(name) { Interpreter(file(name), options()) }
        signed(interpreter, name, inputs)
    } catch (error: IllegalArgumentException) {
        throw EngineException("The graph $name could not be run on this device: ${error.message}", error)
    } catch (error: IllegalStateException) {
        throw EngineException("The graph $name could not be run on this device: ${error.message}", error)
    }

    @Synchronized
    override fun close() {
        interpreters.values.forEach(Interpreter::close)
        interpreters.clear()
    }

    private fun signed(interpreter: Interpreter, name: String, inputs: Map<String, Tensor>): Map<String, Tensor> {
        val component = manifest.component(name)
        val key = interpreter.signatureKeys.single()
        val outputs = component.outputs.associateWith {
            buffer(interpreter.getOutputTensorFromSignature(it.name, key).numBytes())
        }
        interpreter.runSignature(
            inputs.mapValues { (_, tensor) -> buffer(tensor) }, outputs.mapKeys { (spec, _) -> spec.name }, key,
        )
        return outputs.entries.associate { (spec, buffer) ->
            spec.name to tensor(spec, interpreter.getOutputTensorFromSignature(spec.name, key).shape().toList(), buffer)
        }
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

    private fun options() = Interpreter.Options().setNumThreads(Runtime.getRuntime().availableProcessors().coerceIn(1, 4))
}

private fun buffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

private fun buffer(tensor: Tensor): ByteBuffer = when (tensor) {
    is ByteTensor -> buffer(tensor.values.size).apply { put(tensor.values).rewind() }
    is IntTensor -> buffer(4 * tensor.values.size).apply { asIntBuffer().put(tensor.values) }
    is FloatTensor -> buffer(4 * tensor.values.size).apply { asFloatBuffer().put(tensor.values) }
}

private fun tensor(spec: TensorSpec, shape: List<Int>, buffer: ByteBuffer): Tensor {
    buffer.rewind()
    return when (spec.dtype) {
        DType.UINT8 -> ByteTensor(shape, ByteArray(buffer.capacity()).also { buffer.get(it) })
        DType.INT32 -> IntTensor(shape, IntArray(buffer.capacity() / 4).also { buffer.asIntBuffer().get(it) })
        DType.FLOAT32 -> FloatTensor(shape, FloatArray(buffer.capacity() / 4).also { buffer.asFloatBuffer().get(it) })
    }
}
