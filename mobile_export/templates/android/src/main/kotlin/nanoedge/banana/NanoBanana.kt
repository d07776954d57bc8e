package nanoedge.banana

import android.content.Context
import android.graphics.Bitmap
import java.io.Closeable
import java.io.IOException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import nanoedge.banana.core.ArtifactException
import nanoedge.banana.core.Editing
import nanoedge.banana.core.Manifest
import nanoedge.banana.core.NanoBananaException
import nanoedge.banana.core.Picture
import nanoedge.banana.core.Plan
import nanoedge.banana.core.Step
import nanoedge.banana.core.Vocabulary
import nanoedge.banana.core.maskOf

/** The edited photo, what was done, and sentences for the user about what is missing or may disappoint. */
class Outcome(val bitmap: Bitmap, val plan: Plan, val notes: List<String>)

/**
 * The editor: `NanoBanana.open(context).edit(bitmap, "make it warmer")`. It works on a background thread, one edit at a
 * time, and throws NanoBananaException with a sentence for the user. Cancelling the coroutine stops an edit within the
 * graph that is running. Graphs are opened when first needed and kept until `close`.
 */
class NanoBanana private constructor(private val manifest: Manifest, private val graphs: LiteRtGraphs) : Closeable {
    private val turn = Mutex()

    /** The adjustments, regions and colours that plans may use. */
    val vocabulary: Vocabulary get() = manifest.settings.vocabulary

    /** Edit a photo by words. `progress` is called on the background thread. */
    suspend fun edit(bitmap: Bitmap, instruction: String, progress: (Step) -> Unit = {}): Bitmap =
        edited(bitmap, instruction, null, progress).bitmap

    /** Edit a photo by words, inside the mask if given: transparent where the edit belongs, or white on black. */
    suspend fun edited(
        bitmap: Bitmap, instruction: String, mask: Bitmap? = null, progress: (Step) -> Unit = {},
    ): Outcome = work(progress) { editing -> carriedOut(editing, bitmap, editing.plan(instruction), mask) }

    /** Carry out a plan of one's own, for instance from sliders. */
    suspend fun edited(bitmap: Bitmap, plan: Plan, mask: Bitmap? = null, progress: (Step) -> Unit = {}): Outcome =
        work(progress) { editing -> carriedOut(editing, bitmap, plan, mask) }

    /** Say what an instruction means, without a photo. */
    suspend fun plan(instruction: String): Plan = work({}) { it.plan(instruction) }

    /** Release the graphs; a running edit ends first. */
    override fun close() = graphs.close()

    private suspend fun <T> work(progress: (Step) -> Unit, task: (Editing) -> T): T = turn.withLock {
        withContext(Dispatchers.Default) {
            val coroutine = currentCoroutineContext()
            task(Editing(manifest, graphs) { step ->
                coroutine.ensureActive()
                progress(step)
            }).also { coroutine.ensureActive() }
        }
    }

    private fun carriedOut(editing: Editing, bitmap: Bitmap, plan: Plan, mask: Bitmap?): Outcome {
        manifest.settings.check(plan)
        val photo: Picture = pictureOf(bitmap)
        val plane = mask?.let { maskOf(pictureOf(it), photo.width, photo.height, manifest.settings.mask) }
        val result = editing.edit(photo, plan, plane)
        return Outcome(bitmapOf(result.picture), result.plan, result.notes)
    }

    companion object {
        private const val FOLDER = "nano-banana"

        /** Open the model in the app's assets; throws ArtifactException. Quick: graphs are read when first needed. */
        @Throws(NanoBananaException::class)
        fun open(context: Context): NanoBanana {
            val assets = context.assets
            val text = try {
                assets.open("$FOLDER/manifest.json").use { it.readBytes().decodeToString() }
            } catch (error: IOException) {
                throw ArtifactException("The app has no model in assets/$FOLDER.", error)
            }
            val manifest = Manifest(text)
            return NanoBanana(manifest, LiteRtGraphs(manifest) { assets.open("$FOLDER/$it") })
        }
    }
}
