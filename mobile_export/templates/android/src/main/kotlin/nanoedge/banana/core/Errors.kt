package nanoedge.banana.core

/** What went wrong, as a sentence that can be shown to the user. Cancelling is not among them. */
sealed class NanoBananaException(message: String, cause: Throwable? = null) : Exception(message, cause)

/** The words can't be used: empty, or too long for this model. */
class InstructionException(message: String) : NanoBananaException(message)

/** The plan asks for what the vocabulary doesn't have, or for what this photo can't give. */
class PlanException(message: String) : NanoBananaException(message)

/** The photo or the mask can't be used. */
class ImageException(message: String) : NanoBananaException(message)

/** The model in the app is missing, damaged, or made for another version of this code. */
class ArtifactException(message: String, cause: Throwable? = null) : NanoBananaException(message, cause)

/** The graphs failed to run on this device. */
class EngineException(message: String, cause: Throwable? = null) : NanoBananaException(message, cause)
