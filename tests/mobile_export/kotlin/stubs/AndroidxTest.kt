// The instrumented test's surroundings: on a computer, the assets are folders that the JVM is told of.
package androidx.test.platform.app

import android.content.Context
import android.content.res.AssetManager
import java.io.File

class Instrumentation {
    val context = Context(AssetManager(File(System.getProperty("nanoedge.golden"))))
    val targetContext = Context(AssetManager(File(System.getProperty("nanoedge.assets"))))
}

object InstrumentationRegistry {
    fun getInstrumentation() = Instrumentation()
}
