package nanoedge.banana

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** The whole path on a device: words in, LiteRT's graphs, and pictures beside the golden ones. */
@RunWith(AndroidJUnit4::class)
class GoldenOnDeviceTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val golden = Golden { name -> instrumentation.context.assets.open(name).use { it.readBytes() } }

    @Test
    fun editsComeOutAsInPython() = NanoBanana.open(instrumentation.targetContext).use { editor ->
        for (edit in golden.edits) {
            val mask = if (edit.masked) bitmap(golden.mask) else null
            val outcome = runBlocking { editor.edited(bitmap(golden.photo), edit.instruction, mask) }
            val agreement = psnr(pictureOf(bitmap(edit.file)), pictureOf(outcome.bitmap))
            assertTrue("${edit.name}: $agreement dB", agreement >= golden.leastPsnr)
        }
    }

    @Test
    fun plansAreTheGoldenOnes() = NanoBanana.open(instrumentation.targetContext).use { editor ->
        for (edit in golden.edits) {
            assertEquals(edit.name, edit.plan.edits, runBlocking { editor.plan(edit.instruction) }.edits)
        }
    }

    private fun bitmap(name: String): Bitmap =
        instrumentation.context.assets.open(name).use { BitmapFactory.decodeStream(it) } ?: error("no picture $name")
}
