package nanoedge.banana.core

/** JSON text as maps, lists, strings, doubles, booleans and null: for the manifest, without a library. */
fun parseJson(text: String): Any? = JsonReader(text).document()

private class JsonReader(private val text: String) {
    private var at = 0

    fun document(): Any? = value().also { if (next() != END) wrong() }

    private fun value(): Any? = when (next()) {
        '{' -> members()
        '[' -> items(']') { value() }
        '"' -> string()
        't' -> word("true", true)
        'f' -> word("false", false)
        'n' -> word("null", null)
        else -> number()
    }

    private fun members(): Map<String, Any?> = items('}') {
        if (next() != '"') wrong()
        val name = string()
        if (next() != ':') wrong()
        at++
        name to value()
    }.toMap()

    /** What stands between the bracket here and the closing one, separated by commas. */
    private fun <T> items(close: Char, item: () -> T): List<T> {
        at++
        if (next() == close) return emptyList<T>().also { at++ }
        val found = mutableListOf(item())
        while (next() == ',') {
            at++
            found += item()
        }
        if (next() != close) wrong()
        at++
        return found
    }

    private fun string(): String {
        val built = StringBuilder()
        at++
        while (true) {
            when (val character = text.getOrElse(at++) { wrong() }) {
                '"' -> return built.toString()
                '\\' -> built.append(escaped())
                else -> built.append(character)
            }
        }
    }

    private fun escaped(): Char = when (val letter = text.getOrElse(at++) { wrong() }) {
        'b' -> '\b'
        'f' -> '\u000c'
        'n' -> '\n'
        'r' -> '\r'
        't' -> '\t'
        'u' -> (text.substring(at, minOf(at + 4, text.length)).toIntOrNull(16) ?: wrong()).toChar().also { at += 4 }
        else -> letter
    }

    private fun number(): Double {
        val from = at
        while (text.getOrElse(at) { END } in "+-.0123456789eE") at++
        return text.substring(from, at).toDoubleOrNull() ?: wrong()
    }

    private fun <T> word(letters: String, meaning: T): T {
        if (!text.startsWith(letters, at)) wrong()
        at += letters.length
        return meaning
    }

    /** The next character that is no space; the reader stands on it. */
    private fun next(): Char {
        while (text.getOrElse(at) { END } in " \t\r\n") at++
        return text.getOrElse(at) { END }
    }

    private fun wrong(): Nothing = throw ArtifactException("The manifest is damaged near character $at.")

    private companion object {
        const val END = '\u0000'
    }
}
