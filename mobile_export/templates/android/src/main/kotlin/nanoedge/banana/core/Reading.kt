package nanoedge.banana.core

/** Runs the artifact's graphs with the tensor types that the manifest gives them. */
internal class Running(private val manifest: Manifest, private val graphs: Graphs) {
    /** Run a graph; what it doesn't take is left out, so that callers may offer more. */
    fun run(name: String, inputs: Map<String, Tensor>): Map<String, Tensor> {
        val specs = manifest.component(name).inputs
        return graphs.run(name, specs.associate { it.name to inputs.getValue(it.name).to(it.dtype) })
    }
}

/** Instructions as plans, by the graph `text`. */
internal class Reading(private val settings: Settings, private val running: Running) {
    /** Read an instruction. Amounts come in steps of 0.01. */
    fun plan(instruction: String): Plan {
        val bytes = instruction.trim().toByteArray()
        if (bytes.isEmpty()) throw InstructionException("The instruction is empty. Say what to change, e.g. 'warmer'.")
        if (bytes.size > settings.maxBytes) {
            throw InstructionException(
                "The instruction is too long: ${bytes.size} bytes of UTF-8. Allowed: up to ${settings.maxBytes}.",
            )
        }
        val tokens = IntTensor(listOf(1, bytes.size), IntArray(bytes.size) { bytes[it].toInt() and 255 })
        val found = running.run("text", mapOf("tokens" to tokens))
        return Plan(edits(found), found.getValue("beyond").floats()[0].toDouble())
    }

    private fun edits(found: Map<String, Tensor>): List<Edit> {
        val vocabulary = settings.vocabulary
        val amounts = found.getValue("amounts").floats()
        val scores = found.getValue("color").floats()
        val color = settings.colors[scores.indices.maxBy { scores[it] }]
        return vocabulary.regions.flatMapIndexed { row, region ->
            vocabulary.adjustments.mapIndexedNotNull { column, adjustment ->
                val value = amounts[row * vocabulary.adjustments.size + column].toDouble()
                val amount = Math.rint(100 * value.coerceIn(adjustment.low, adjustment.high)) / 100
                val paint = if (adjustment.takesColor) color else null
                if (amount == 0.0 || region !in adjustment.regions) null
                else Edit(adjustment.name, amount, region, paint)
            }
        }
    }
}

/** What the graphs `vision` and `auto` see in a small copy of the photo. */
internal class Looking(private val settings: Settings, private val running: Running) {
    /** Soft masks of the subject, the background and skin, smaller than the photo. */
    fun masks(photo: Picture): Map<String, Plane> {
        val found = running.run("vision", mapOf("image" to square(photo)))
        val subject = plane(found.getValue("subject"))
        return mapOf(SUBJECT to subject, BACKGROUND to subject.map { 1f - it }, SKIN to plane(found.getValue("skin")))
    }

    /** What the photo needs of each adjustment, of the groups that are asked for. */
    fun corrections(photo: Picture, asked: List<Edit>): FloatArray {
        val needed = running.run("auto", mapOf("image" to square(photo))).getValue("corrections").floats()
        val shares = FloatArray(needed.size)
        for (edit in asked) for (name in settings.corrections.getValue(edit.adjust)) {
            val at = settings.vocabulary.index(name)
            shares[at] = maxOf(shares[at], edit.amount.toFloat())
        }
        return FloatArray(needed.size) { needed[it] * shares[it] }
    }

    private fun square(photo: Picture): Tensor {
        val side = settings.maskPixels
        return ByteTensor(listOf(1, side, side, 3), resizedTo(photo, side, side).rgb())
    }

    private fun plane(tensor: Tensor) = Plane(tensor.shape[3], tensor.shape[2], tensor.floats())
}
