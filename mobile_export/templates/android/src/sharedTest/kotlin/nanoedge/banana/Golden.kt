package nanoedge.banana

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.log10
import nanoedge.banana.core.ByteTensor
import nanoedge.banana.core.DType
import nanoedge.banana.core.Edit
import nanoedge.banana.core.FloatTensor
import nanoedge.banana.core.IntTensor
import nanoedge.banana.core.Members
import nanoedge.banana.core.Picture
import nanoedge.banana.core.Plan
import nanoedge.banana.core.Tensor
import nanoedge.banana.core.parseJson

/** One edit of the golden photo, and the file of the picture that should come out. */
class GoldenEdit(val name: String, val instruction: String, val masked: Boolean, val plan: Plan, val file: String)

/** One run of a graph. */
class GoldenRun(val inputs: Map<String, Tensor>, val outputs: Map<String, Tensor>)

/** The bundle's golden vectors; `read` gives the bytes of one of its files. */
class Golden(private val read: (String) -> ByteArray) {
    private val members = Members(parseJson(read("golden.json").decodeToString()), "golden.json")
    val photo = members.string("photo")
    val mask = members.string("mask")

    /** What an edit must agree with, in decibels. */
    val leastPsnr = members.double("least_psnr_db")

    val edits: List<GoldenEdit> = members.list("edits").map {
        val edit = Members(it, "edit")
        GoldenEdit(
            name = edit.string("name"), instruction = edit.string("instruction"), masked = edit.flag("masked"),
            plan = plan(edit), file = edit.string("file"),
        )
    }

    val runs: Map<String, GoldenRun> = members.list("graphs").associate {
        val graph = Members(it, "graph")
        graph.string("component") to GoldenRun(tensors(graph.list("inputs")), tensors(graph.list("outputs")))
    }

    private fun plan(edit: Members) = Plan(edit.members("plan").list("edits").map {
        val entry = Members(it, "edit of a plan")
        val color = if ("color" in entry.names) entry.string("color") else null
        Edit(entry.string("adjust"), entry.double("amount"), entry.string("region"), color)
    })

    private fun tensors(entries: List<Any?>): Map<String, Tensor> = entries.associate {
        val entry = Members(it, "tensor")
        val shape = entry.list("shape").map { side -> (side as Double).toInt() }
        val buffer = ByteBuffer.wrap(read(entry.string("file"))).order(ByteOrder.LITTLE_ENDIAN)
        entry.string("name") to when (DType.named(entry.string("dtype"))) {
            DType.UINT8 -> ByteTensor(shape, buffer.array())
            DType.INT32 -> IntTensor(shape, IntArray(buffer.capacity() / 4).also(buffer.asIntBuffer()::get))
            DType.FLOAT32 -> FloatTensor(shape, FloatArray(buffer.capacity() / 4).also(buffer.asFloatBuffer()::get))
        }
    }
}

/** Decibels between two pictures; 0 for other sizes. */
fun psnr(one: Picture, other: Picture): Double {
    if (one.width != other.width || one.height != other.height) return 0.0
    val squares = one.bytes.indices.sumOf { at ->
        val difference = (one.bytes[at].toInt() and 255) - (other.bytes[at].toInt() and 255)
        (difference * difference).toDouble()
    }
    return if (squares == 0.0) Double.POSITIVE_INFINITY else 10 * log10(255 * 255 * one.bytes.size / squares)
}
