package nanoedge.banana.core

/** One adjustment as the manifest describes it; `low`..`high` is the allowed amount. */
class Adjustment(
    val name: String,
    val low: Double,
    val high: Double,
    val regions: List<String>,
    val takesColor: Boolean,
)

/** One adjustment of a plan. `color` (`#rrggbb`) belongs to those that take one. */
data class Edit(val adjust: String, val amount: Double, val region: String = "all", val color: String? = null)

/** Edits (their order carries no meaning) and `beyond`, 0..1: how sure it is that more was wanted. */
data class Plan(val edits: List<Edit>, val beyond: Double = 0.0) {
    val regions: Set<String> get() = edits.map { it.region }.toSet()

    fun of(names: Collection<String>): List<Edit> = edits.filter { it.adjust in names }
}

/** All adjustments in the order of the graphs' `amounts` axis, the regions and the named colours. */
class Vocabulary(val adjustments: List<Adjustment>, val regions: List<String>, val colors: Map<String, String>) {
    private val places = adjustments.withIndex().associate { (place, adjustment) -> adjustment.name to place }

    fun index(name: String): Int = places[name]
        ?: throw PlanException("There is no adjustment called $name. Allowed: ${places.keys.joinToString()}.")

    fun adjustment(name: String): Adjustment = adjustments[index(name)]

    /** Throws PlanException unless the edit is one that the model has. */
    fun check(edit: Edit) {
        val known = adjustment(edit.adjust)
        val fault = when {
            edit.amount !in known.low..known.high -> "takes amounts from ${known.low} to ${known.high}"
            edit.region !in known.regions -> "can be applied to ${known.regions.joinToString()}"
            known.takesColor && !COLOR.matches(edit.color ?: "") -> "needs a colour such as #ff8800"
            !known.takesColor && edit.color != null -> "takes no colour"
            else -> null
        }
        val got = "${edit.amount}, ${edit.region}, ${edit.color}"
        if (fault != null) throw PlanException("${edit.adjust} $fault. Got: $got.")
    }

    /** Confine a plan to the user's mask: edits of the whole photo become edits of the masked area where they can. */
    fun withinMask(plan: Plan): Plan {
        val edits = plan.edits.map { edit ->
            val fits = edit.region == ALL && MASKED in adjustment(edit.adjust).regions
            if (fits) edit.copy(region = MASKED) else edit
        }
        return Plan(edits, if (edits.any { it.adjust == ERASING }) 0.0 else plan.beyond)
    }
}

const val ALL = "all"
const val MASKED = "masked"
const val ERASING = "inpaint"
const val UPSCALE = "upscale"
const val SUBJECT = "subject"
const val BACKGROUND = "background"
const val SKIN = "skin"

private val COLOR = Regex("#[0-9a-fA-F]{6}")

/** Red, green and blue of `#rrggbb`, 0..255. */
fun channels(color: String): List<Int> = listOf(1, 3, 5).map { color.substring(it, it + 2).toInt(16) }
