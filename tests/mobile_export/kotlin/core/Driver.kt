package nanoedge.banana.check

import nanoedge.banana.core.Edit
import nanoedge.banana.core.Editing
import nanoedge.banana.core.Graphs
import nanoedge.banana.core.Manifest
import nanoedge.banana.core.Members
import nanoedge.banana.core.NanoBananaException
import nanoedge.banana.core.ByteTensor
import nanoedge.banana.core.Picture
import nanoedge.banana.core.Plan
import nanoedge.banana.core.maskOf
import nanoedge.banana.core.parseJson

/** Does the edits that come in by standard input, with the bundle's core and the graphs that the other end runs. */
fun main() {
    val conversation = Conversation.standard
    val manifest = Manifest(conversation.receive()!!.text("manifest")!!)
    while (true) {
        val order = conversation.receive() ?: return
        conversation.send(
            try {
                edited(manifest, conversation, order)
            } catch (error: NanoBananaException) {
                Message(listOf("failed"), mapOf("message" to textTensor(error.message!!)))
            },
        )
    }
}

private fun edited(manifest: Manifest, conversation: Conversation, order: Message): Message {
    val graphs = Graphs { name, inputs -> conversation.ask(Message(listOf("run", name), inputs)).tensors }
    val steps = mutableListOf<String>()
    val editing = Editing(manifest, graphs) { steps += it.stage }
    val photo = picture(order, "photo")!!
    val plan = order.text("plan")?.let(::plan) ?: editing.plan(order.text("instruction")!!)
    manifest.settings.check(plan)
    val mask = picture(order, "mask")?.let { maskOf(it, photo.width, photo.height, manifest.settings.mask) }
    val result = editing.edit(photo, plan, mask)
    val shape = listOf(result.picture.height, result.picture.width, 4)
    return Message(listOf("edited"), mapOf(
        "picture" to ByteTensor(shape, result.picture.bytes),
        "notes" to textTensor(result.notes.joinToString("\n")),
        "stages" to textTensor(steps.distinct().joinToString(" ")),
    ))
}

private fun picture(order: Message, name: String): Picture? =
    (order.tensors[name] as ByteTensor?)?.let { Picture(it.shape[1], it.shape[0], it.values) }

private fun plan(text: String): Plan = Plan(Members(parseJson(text), "plan").list("edits").map {
    val edit = Members(it, "edit")
    val color = if ("color" in edit.names) edit.string("color") else null
    Edit(edit.string("adjust"), edit.double("amount"), edit.string("region"), color)
})
