/**
 * What goes wrong on purpose. A message says what, what was given, what is allowed and what to do, in the same words as
 * the Python runtime's.
 */

const SHOWN = { got: 120, allowed: 400 };

export class EditError extends Error {
    /**
     * @param {string} kind The name of the error's class in the Python runtime, such as "InstructionError".
     * @param {string} what
     * @param {{got?: unknown, allowed?: unknown, hint?: string, param?: string}} [details]
     */
    constructor(kind, what, { got, allowed, hint, param } = {}) {
        const parts = [what.replace(/\.$/, "")];
        if (got !== undefined) parts.push(`got ${shorten(got, SHOWN.got)}`);
        if (allowed !== undefined) parts.push(`allowed: ${shorten(allowed, SHOWN.allowed)}`);
        if (hint) parts.push(hint.replace(/\.$/, ""));
        super(`${parts.map((part) => part[0].toUpperCase() + part.slice(1)).join(". ")}.`);
        this.name = kind;
        this.param = param ?? null;
    }

    /** What survives the way out of a worker. */
    toData() {
        return { kind: this.name, message: this.message, param: this.param };
    }

    /** @param {{kind: string, message: string, param: string | null}} data */
    static fromData({ kind, message, param }) {
        const error = new EditError(kind, message, { param });
        error.message = message;
        return error;
    }
}

/** What a cancelled edit throws, as `fetch` does. */
export const cancelled = () => new DOMException("The edit was cancelled.", "AbortError");

function shorten(value, limit) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const characters = [...text];
    if (characters.length <= limit) return text;
    const half = Math.floor(limit / 2);
    const [start, end] = [characters.slice(0, half), characters.slice(-half)].map((part) => part.join(""));
    return `${start}...${end} (${characters.length} characters)`;
}
