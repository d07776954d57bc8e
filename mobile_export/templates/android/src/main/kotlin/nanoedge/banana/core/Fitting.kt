package nanoedge.banana.core

/**
 * One size of a graph of fixed shapes: a file has one or more, each the same graph. Tensors are filled up at their end
 * to fit, and cut off again; the artifact's format calls it "Fixed sizes".
 */
class Signature(val name: String, private val component: Component, shapes: Map<String, List<Int>>) {
    private val sizes: Map<String, Int>

    /** Symbols whose real size the graph takes as a further input of that name. */
    private val told: Set<String>

    init {
        val specs = component.inputs + component.outputs
        sizes = specs.flatMap { spec ->
            val shape = shapes[spec.name]
            if (shape?.size != spec.shape.size) {
                throw ArtifactException("The tensor ${spec.name} of ${component.name} differs from the manifest.")
            }
            spec.shape.zip(shape).filter { (side, _) -> side.symbol.isNotEmpty() }
                .map { (side, size) -> side.symbol to size }
        }.toMap()
        told = shapes.keys - specs.map { it.name }.toSet()
        if (!sizes.keys.containsAll(told)) {
            throw ArtifactException("${component.name} has inputs that the manifest doesn't have: $told.")
        }
    }

    /** How much it computes, and whether tensors of these sizes fit. */
    val elements: Long get() = sizes.values.fold(1L) { product, size -> product * size }
    fun holds(wanted: Map<String, Int>): Boolean = sizes.all { (symbol, size) -> wanted.getValue(symbol) <= size }

    /** The graph's inputs for the component's: codes filled up with zeros, all else by repeating the last element. */
    fun fit(inputs: Map<String, Tensor>, real: Map<String, Int>): Map<String, Tensor> {
        val filled = component.inputs.associate { spec ->
            val shape = spec.shape.map { if (it.symbol.isEmpty()) it.size else sizes.getValue(it.symbol) }
            spec.name to reshaped(inputs.getValue(spec.name), shape)
        }
        return filled + told.associateWith { FloatTensor(listOf(1), floatArrayOf(real.getValue(it).toFloat())) }
    }

    /** The component's outputs of the graph's. */
    fun cut(outputs: Map<String, Tensor>, real: Map<String, Int>): Map<String, Tensor> =
        component.outputs.associate { spec ->
            val shape = spec.shape.map { if (it.symbol.isEmpty()) it.size else real.getValue(it.symbol) }
            spec.name to reshaped(outputs.getValue(spec.name), shape)
        }
}

/** The size of every symbol in a component's inputs. */
fun sizesOf(component: Component, inputs: Map<String, Tensor>): Map<String, Int> =
    component.inputs.flatMap { spec -> spec.shape.zip(inputs.getValue(spec.name).shape) }
        .filter { (side, _) -> side.symbol.isNotEmpty() }.associate { (side, size) -> side.symbol to size }

/** The signature that computes least and holds the sizes; throws EngineException when none does. */
fun smallest(signatures: List<Signature>, sizes: Map<String, Int>, graph: String): Signature =
    signatures.filter { it.holds(sizes) }.minByOrNull { it.elements }
        ?: throw EngineException("The inputs of $graph are larger than any of its sizes. Got: $sizes.")

private fun reshaped(tensor: Tensor, shape: List<Int>): Tensor {
    if (tensor.shape == shape) return tensor
    val places = places(tensor.shape, shape, repeat = tensor !is IntTensor)
    return when (tensor) {
        is ByteTensor -> ByteTensor(shape, ByteArray(places.size) { tensor.values[places[it]] })
        is FloatTensor -> FloatTensor(shape, FloatArray(places.size) { tensor.values[places[it]] })
        is IntTensor -> IntTensor(shape, IntArray(places.size) { if (places[it] < 0) 0 else tensor.values[places[it]] })
    }
}

/** For each element of a new shape its place in the old one; beyond the old one's end the last, or -1. */
private fun places(old: List<Int>, new: List<Int>, repeat: Boolean): IntArray {
    var places = intArrayOf(0)
    for ((before, after) in old.zip(new)) {
        places = IntArray(places.size * after) {
            val (place, index) = places[it / after] to it % after
            if (place < 0 || index >= before && !repeat) -1 else place * before + minOf(index, before - 1)
        }
    }
    return places
}
