package nanoedge.banana.check

import android.content.Context
import android.content.res.AssetManager
import java.io.File
import java.io.IOException
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import nanoedge.banana.GoldenOnDeviceTest
import nanoedge.banana.GoldenTest
import nanoedge.banana.NanoBanana
import nanoedge.banana.core.ArtifactException
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.JUnitCore

/** Runs the bundle's own tests and those below, and tells the other end which failed. */
fun main() {
    val conversation = Conversation.standard
    val result = JUnitCore.runClasses(GoldenTest::class.java, GoldenOnDeviceTest::class.java, EditorTest::class.java)
    for (failure in result.failures) System.err.println(failure.trace)
    val failures = result.failures.joinToString("\n") { "${it.testHeader}: ${it.message}" }
    conversation.send(Message(listOf("finished", "${result.runCount}"), mapOf("failures" to textTensor(failures))))
    System.exit(0)
}

/** What can't be seen in pictures: cancelling, progress, and an app without the model. */
class EditorTest {
    private val context = Context(AssetManager(File(System.getProperty("nanoedge.assets"))))
    private val photo = android.graphics.BitmapFactory.decodeStream(
        File(System.getProperty("nanoedge.golden"), "photo.png").inputStream(),
    )!!

    @Test
    fun progressGoesFromReadingToRendering(): Unit = NanoBanana.open(context).use { editor ->
        val stages = mutableListOf<String>()
        runBlocking { editor.edit(photo, "make it warmer") { stages += it.stage } }
        assertTrue("$stages", stages.first() == "text" && stages.last() == "render")
    }

    @Test
    fun cancellingStopsAnEditAndTheNextOneWorks(): Unit = NanoBanana.open(context).use { editor ->
        runBlocking {
            lateinit var cancel: () -> Unit
            val edit = async(Dispatchers.Default, CoroutineStart.LAZY) {
                editor.edit(photo, "remove the background") { cancel() }
            }
            cancel = edit::cancel
            edit.start()
            assertThrows(CancellationException::class.java) { runBlocking { edit.await() } }
            editor.edit(photo, "warmer")
        }
    }

    @Test
    fun anAppWithoutTheModelIsToldSo() {
        val empty = Context(AssetManager(File("/nonexistent")))
        val error = assertThrows(ArtifactException::class.java) { NanoBanana.open(empty) }
        assertTrue(error.cause is IOException && error.message!!.endsWith("."))
    }
}
