// What the Android layer of the bundle uses of Android, with just enough behind it to run on a computer's JVM.
@file:Suppress("UNUSED_PARAMETER", "unused")

package android.content.res

import java.io.File
import java.io.IOException
import java.io.InputStream

class AssetManager(private val folder: File) {
    fun open(name: String): InputStream {
        val file = File(folder, name)
        return if (file.isFile) file.inputStream() else throw IOException(name)
    }
}
