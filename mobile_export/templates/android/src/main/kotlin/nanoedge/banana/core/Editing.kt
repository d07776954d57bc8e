package nanoedge.banana.core

/** Progress of a running edit: the stage that starts now, the share that is done, 0..1, and a sentence for the user. */
data class Step(val stage: String, val fraction: Double, val note: String = "")

/** Hears of each step before it is done; may throw to stop the edit. */
typealias Listener = (Step) -> Unit

/** The picture, the plan that was carried out, and sentences for the user about what is missing or may disappoint. */
class Edited(val picture: Picture, val plan: Plan, val notes: List<String>)

/** nano-banana's procedure: read, mend, correct, render, enlarge, place. What a plan doesn't need is not run. */
class Editing(manifest: Manifest, graphs: Graphs, private val listen: Listener) {
    private val settings = manifest.settings
    private val running = Running(manifest, graphs)
    private val notes = mutableListOf<String>()

    /** Read an instruction; throws InstructionException for one that can't be used. */
    fun plan(instruction: String): Plan {
        listen(Step("text", 0.0))
        return Reading(settings, running).plan(instruction)
    }

    /** Carry out a plan that `plan` gave or the app made, by then checked. The mask has the photo's size. */
    fun edit(photo: Picture, asked: Plan, mask: Plane?): Edited {
        val plan = fitted(asked, mask != null)
        if (plan.beyond >= settings.beyondThreshold) {
            notes += "The request goes beyond what this model can do; only the plan was carried out."
        }
        if (plan.edits.isEmpty()) {
            notes += "The plan is empty, so the photo is unchanged. Name an adjustment, for example 'warmer'."
            return Edited(photo, plan, notes)
        }
        return Edited(rendered(photo, plan, mask), plan, notes)
    }

    private fun fitted(plan: Plan, hasMask: Boolean): Plan {
        if (hasMask) return settings.vocabulary.withinMask(plan)
        val (masked, others) = plan.edits.partition { it.region == MASKED }
        if (masked.isNotEmpty()) notes += "Left out because no mask was given: ${masked.joinToString { it.adjust }}."
        return plan.copy(edits = others)
    }

    private fun rendered(photo: Picture, plan: Plan, mask: Plane?): Picture {
        val looking = Looking(settings, running)
        var masks = if (mask == null) emptyMap() else mapOf(MASKED to mask)
        if (plan.regions.any { it in SEEN }) {
            listen(Step("vision", 0.1))
            masks = masks + looking.masks(photo)
            doubt(plan, masks)
        }
        var picture = restored(photo, plan.of(settings.restore + ERASING - UPSCALE), masks)
        var corrections = FloatArray(settings.vocabulary.adjustments.size)
        val asked = plan.of(settings.corrections.keys)
        if (asked.isNotEmpty()) {
            listen(Step("auto", 0.4))
            corrections = looking.corrections(picture, asked)
        }
        val apart = settings.restore + ERASING + settings.corrections.keys + settings.onCanvas
        val edits = plan.edits.filter { it.adjust !in apart }
        picture = Rendering(settings, running, listen).rendered(picture, edits, corrections, masks)
        picture = upscaled(picture, plan.of(listOf(UPSCALE)))
        return Placing(settings.shares, masks).placed(picture, plan.of(settings.onCanvas))
    }

    /** One run of `restore` per region that is named, the whole photo first. */
    private fun restored(photo: Picture, edits: List<Edit>, masks: Map<String, Plane>): Picture {
        val restoration = restoration()
        var picture = photo
        for (region in settings.vocabulary.regions) {
            val chosen = edits.filter { it.region == region }
            if (chosen.isEmpty()) continue
            val mending = mending(chosen)
            picture = when (region) {
                ALL -> restoration.mended(picture, mending)
                MASKED -> restoration.mendedInside(picture, mending, masks.getValue(region), opacity(chosen))
                else -> blended(picture, restoration.mended(picture, mending), masks.getValue(region))
            }
        }
        return picture
    }

    private fun upscaled(picture: Picture, edits: List<Edit>): Picture {
        if (edits.isEmpty()) return picture
        val largest = settings.maxUpscaledPixels / (ENLARGEMENT * ENLARGEMENT)
        if (picture.width.toLong() * picture.height > largest) {
            throw PlanException("The photo is too large to be enlarged. Allowed: up to $largest pixels.")
        }
        return restoration().mended(enlarged(picture), mending(edits))
    }

    private fun restoration() = Restoration(settings.restoration) { listen(Step("restore", 0.15 + 0.25 * it)) }

    /** `fill` for what is marked, then `restore` with the strengths of the edits that it does. */
    private fun mending(edits: List<Edit>): Mending {
        val strengths = FloatArray(settings.restore.size)
        for (edit in edits.filter { it.adjust != ERASING }) {
            strengths[settings.restore.indexOf(edit.adjust)] = edit.amount.toFloat()
        }
        return Mending { piece, hole ->
            var picture = piece
            if (hole.values.any { it != 0f }) {
                picture = Picture.of(running.run("fill", mapOf("image" to picture.tensor(), "mask" to hole.tensor()))
                    .getValue("filled"))
            }
            if (strengths.any { it != 0f }) {
                val tensor = FloatTensor(listOf(1, strengths.size), strengths)
                picture = Picture.of(running.run("restore", mapOf("image" to picture.tensor(), "strengths" to tensor))
                    .getValue("restored"))
            }
            picture
        }
    }

    private fun opacity(edits: List<Edit>): Double = edits.filter { it.adjust == ERASING }.sumOf { it.amount }

    /** Say so if the photo doesn't seem to have a region that the plan names. */
    private fun doubt(plan: Plan, masks: Map<String, Plane>) {
        for ((name, faintest) in settings.faintest) {
            val asked = name in plan.regions || name == SUBJECT && BACKGROUND in plan.regions
            if (asked && masks.getValue(name).values.average() < faintest) {
                notes += "No clear $name was found in the photo, so edits by this region may do little or look patchy."
            }
        }
    }

    private companion object {
        val SEEN = setOf(SUBJECT, BACKGROUND, SKIN)
    }
}

/** The canvas operations of a plan in their fixed order; masks fit the picture until it is cropped or turned. */
internal class Placing(private val shares: CanvasShares, private val masks: Map<String, Plane>) {
    fun placed(photo: Picture, edits: List<Edit>): Picture {
        val named = edits.groupBy { it.adjust }.withDefault { emptyList() }
        var picture = photo
        for (edit in named.getValue("pixelate")) picture = pixelated(picture, edit)
        for (edit in named.getValue("crop").sortedBy { it.region != SUBJECT }) picture = cropped(picture, edit)
        for (edit in named.getValue("rotate")) picture = turned(picture, edit.amount)
        if (named.getValue("flip_horizontal").any { it.amount > 0.5 }) picture = mirrored(picture, horizontal = true)
        if (named.getValue("flip_vertical").any { it.amount > 0.5 }) picture = mirrored(picture, horizontal = false)
        for (edit in named.getValue("frame")) {
            picture = framed(picture, edit.amount, shares.frame, edit.color ?: "#ffffff")
        }
        return picture
    }

    private fun pixelated(picture: Picture, edit: Edit): Picture {
        val share = shares.blockLeast + (shares.blockMost - shares.blockLeast) * edit.amount
        val block = maxOf(2, Math.rint(share * maxOf(picture.width, picture.height)).toInt())
        return pixelated(picture, block, masks[edit.region], shares.blockCovered)
    }

    private fun cropped(picture: Picture, edit: Edit): Picture = when (edit.region) {
        SUBJECT -> croppedAround(picture, masks.getValue(SUBJECT), edit.amount, shares.subjectMargin)
        ALL -> croppedMiddle(picture, edit.amount)
        else -> null
    } ?: picture
}
