package nanoedge.banana

import java.io.ByteArrayInputStream
import javax.imageio.ImageIO
import kotlin.math.abs
import nanoedge.banana.core.DType
import nanoedge.banana.core.Editing
import nanoedge.banana.core.Graphs
import nanoedge.banana.core.InstructionException
import nanoedge.banana.core.Manifest
import nanoedge.banana.core.Picture
import nanoedge.banana.core.Plane
import nanoedge.banana.core.Tensor
import nanoedge.banana.core.maskOf
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

/** Runs on the computer, without LiteRT: recorded graphs stand in, and what they are fed is compared. */
class GoldenTest {
    private val golden = Golden(::resource)
    private val manifest = Manifest(resource("nano-banana/manifest.json").decodeToString())
    private val photo = picture(golden.photo)
    private val recorded = RecordedGraphs(golden.runs)

    @Test
    fun everyGraphIsFedAsInPythonAndEditsComeOutAlike() {
        val finished = golden.edits.filter { edit -> agrees(edit) }.map { it.name }
        val graphs = golden.runs.keys - "text" // words have their own test
        assertEquals("never got their golden inputs", emptySet<String>(), graphs - recorded.matched)
        assertTrue("finished: $finished", "turn" in finished && "pixelate" in finished)
    }

    @Test
    fun wordsBecomeTheGoldenPlan() {
        val first = golden.edits.first()
        assertEquals(first.plan.edits, editing().plan(" ${first.instruction} ").edits)
    }

    @Test
    fun wordsThatAreNoneOrTooManyAreRefusedWithASentence() {
        val tooLong = "x".repeat(manifest.settings.maxBytes + 1)
        for (words in listOf(" ", tooLong)) {
            val error = assertThrows(InstructionException::class.java) { editing().plan(words) }
            assertTrue(error.message!!.endsWith("."))
        }
    }

    /** Whether the recorded runs were enough to finish the edit; fails if the picture is another one. */
    private fun agrees(edit: GoldenEdit): Boolean {
        val result = try {
            editing().edit(photo, edit.plan, if (edit.masked) mask() else null)
        } catch (other: NotRecorded) {
            return false
        }
        val agreement = psnr(picture(edit.file), result.picture)
        assertTrue("${edit.name}: $agreement dB", agreement >= golden.leastPsnr)
        return true
    }

    private fun editing() = Editing(manifest, recorded) {}

    private fun mask(): Plane = maskOf(picture(golden.mask), photo.width, photo.height, manifest.settings.mask)
}

/** A run that was not recorded: the first run of each graph alone is. */
private class NotRecorded(graph: String) : RuntimeException(graph)

/** Gives a graph's recorded outputs for its recorded inputs. */
private class RecordedGraphs(private val runs: Map<String, GoldenRun>) : Graphs {
    val matched = mutableSetOf<String>()

    override fun run(name: String, inputs: Map<String, Tensor>): Map<String, Tensor> {
        val run = runs.getValue(name)
        if (!inputs.all { (input, tensor) -> alike(tensor, run.inputs.getValue(input)) }) throw NotRecorded(name)
        matched += name
        return run.outputs
    }

    private fun alike(one: Tensor, other: Tensor): Boolean {
        if (one.shape != other.shape || one.dtype != other.dtype) return false
        val (ours, theirs) = one.floats() to other.floats()
        val least = if (one.dtype == DType.UINT8) 1f else 1e-4f
        return ours.indices.all { abs(ours[it] - theirs[it]) <= least }
    }
}

private fun resource(name: String): ByteArray =
    GoldenTest::class.java.getResourceAsStream("/$name")?.use { it.readBytes() } ?: error("no resource $name")

private fun picture(name: String): Picture {
    val image = ImageIO.read(ByteArrayInputStream(resource(name)))
    val picture = Picture(image.width, image.height)
    for (y in 0 until image.height) for (x in 0 until image.width) {
        val (color, at) = image.getRGB(x, y) to 4 * (y * image.width + x)
        for ((channel, shift) in listOf(16, 8, 0, 24).withIndex()) {
            picture.bytes[at + channel] = (color shr shift).toByte()
        }
    }
    return picture
}
