package nanoedge.banana.core

/** One side of a tensor: a size, or a symbol for one that differs from run to run. */
class Side(val size: Int, val symbol: String = "")

/** A graph's tensor as the manifest describes it. */
class TensorSpec(val name: String, val dtype: DType, val shape: List<Side>)

/** One graph of the artifact: its file and what goes in and out. */
class Component(val name: String, val file: String, val inputs: List<TensorSpec>, val outputs: List<TensorSpec>)

/** How `restore` and `fill` are fed, in pixels; see Restoration.kt. */
class RestorationSizes(members: Members) {
    /** What a tile sees along both axes, and how much of it is halo; multiples of `multiple`. */
    val tile = members.int("tile_pixels")
    val halo = members.int("halo_pixels")
    val multiple = members.int("multiple")

    /** Holes thicker than this are filled on a reduced copy. */
    val hole = members.int("hole_pixels")

    /** What a mask marks by more than this is hole. */
    val marked = members.double("marked")

    /** On a reduced copy, what keeps less alpha than this of 255 is hole. */
    val known = members.int("known_alpha")

    /** How much around what is marked is looked at, at least. */
    val around = members.int("around_pixels")
}

/** How much an amount of 1 does in Canvas.kt, as shares of the picture's sides. */
class CanvasShares(members: Members) {
    val frame = members.double("frame")
    val blockLeast = members.double("block_least")
    val blockMost = members.double("block_most")
    val blockCovered = members.double("block_covered")
    val subjectMargin = members.double("subject_margin")
}

/** Which pictures can be masks of a photo. */
class MaskLimits(members: Members) {
    val tolerance = members.double("proportions_tolerance")
    val leastMarked = members.double("least_marked")
}

/** The manifest's settings of nano-banana. */
class Settings(members: Members) {
    /** The sizes of graphs that have some alone, by the symbols of their tensors; none for graphs of any size. */
    val fixedSizes: Map<String, List<Map<String, Int>>> = members.optional("fixed_sizes")?.let { graphs ->
        graphs.names.associateWith { graph ->
            graphs.list(graph).map { Members(it, "size").let { size -> size.names.associateWith(size::int) } }
        }
    }.orEmpty()
    val vocabulary = vocabulary(members.members("vocabulary"))
    val maxBytes = members.int("max_instruction_bytes")
    val maskPixels = members.int("mask_pixels")
    val contextPixels = members.int("context_pixels")
    val haloRows = members.int("halo_rows")
    val stripPixels = members.int("strip_pixels")
    val maxUpscaledPixels = members.int("max_upscaled_pixels")
    private val maxEdits = members.int("max_edits")
    val beyondThreshold = members.double("beyond_threshold")
    val faintest = members.members("faintest").let { masks -> masks.names.associateWith(masks::double) }
    val restoration = RestorationSizes(members.members("restoration"))
    val shares = CanvasShares(members.members("canvas"))
    val mask = MaskLimits(members.members("mask"))
    val colors = members.strings("color_axis").map { vocabulary.colors.getValue(it) }
    val restore = members.strings("restore_axis")
    val corrections = members.members("corrections").let { groups -> groups.names.associateWith(groups::strings) }
    val local = members.strings("local_adjustments").toSet()
    val full = members.strings("full_adjustments").toSet()
    val cutting = members.strings("cutting_adjustments").toSet()
    val onCanvas = members.strings("canvas_adjustments").toSet()

    /** Throws PlanException unless the model can carry the plan out. */
    fun check(plan: Plan) {
        if (plan.edits.size > maxEdits) {
            throw PlanException("The plan has too many edits. Got: ${plan.edits.size}. Allowed: $maxEdits.")
        }
        plan.edits.forEach(vocabulary::check)
    }
}

/** What is read of manifest.json. */
class Manifest(text: String) {
    private val members = Members(parseJson(text), "manifest")
    val name = members.string("name")
    val target = members.string("target")
    val components = members.list("components").map { component(Members(it, "component")) }.associateBy { it.name }
    val settings: Settings

    init {
        val version = members.int("format_version")
        if (version != FORMAT_VERSION) throw ArtifactException("This app reads format $FORMAT_VERSION. Got: $version.")
        settings = Settings(members.members("settings"))
    }

    fun component(name: String): Component =
        components[name] ?: throw ArtifactException("The artifact has no graph called $name.")

    private companion object {
        const val FORMAT_VERSION = 2
    }
}

/** An object of the manifest; asking for what is not there, or is of another type, throws ArtifactException. */
class Members(value: Any?, private val place: String) {
    private val values = value as? Map<*, *> ?: throw ArtifactException("$place of the manifest is no object.")

    val names: List<String> get() = values.keys.map { it as String }

    fun string(name: String): String = typed<String>(name)
    fun double(name: String): Double = typed<Double>(name)
    fun int(name: String): Int = double(name).toInt()
    fun flag(name: String): Boolean = typed<Boolean>(name)
    fun list(name: String): List<Any?> = typed<List<Any?>>(name)
    fun strings(name: String): List<String> = list(name).map { it as? String ?: missing(name) }
    fun members(name: String): Members = Members(values[name], name)
    fun optional(name: String): Members? = values[name]?.let { Members(it, name) }

    private inline fun <reified T> typed(name: String): T = values[name] as? T ?: missing(name)

    private fun missing(name: String): Nothing =
        throw ArtifactException("$place of the manifest has no usable $name. Export the model again.")
}

private fun component(members: Members) = Component(
    name = members.string("name"),
    file = members.string("file"),
    inputs = members.list("inputs").map { tensor(Members(it, "input")) },
    outputs = members.list("outputs").map { tensor(Members(it, "output")) },
)

private fun tensor(members: Members) = TensorSpec(
    name = members.string("name"),
    dtype = DType.named(members.string("dtype")),
    shape = members.list("shape").map { if (it is Double) Side(it.toInt()) else Side(0, it.toString()) },
)

private fun vocabulary(members: Members): Vocabulary {
    val adjustments = members.list("adjustments").map {
        val entry = Members(it, "adjustment")
        Adjustment(
            name = entry.string("name"), low = entry.double("low"), high = entry.double("high"),
            regions = entry.strings("regions"), takesColor = "takes_color" in entry.names && entry.flag("takes_color"),
        )
    }
    val colors = members.members("colors")
    return Vocabulary(adjustments, members.strings("regions"), colors.names.associateWith(colors::string))
}
