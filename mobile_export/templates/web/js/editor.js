/** One opened model that turns a photo and words into a result, with the warnings of the Python runtime's editor. */

import { EditError } from "./errors.js";
import { Graphs } from "./graphs.js";
import { decoded, maskOf } from "./photo.js";
import { isOpaque } from "./pixels.js";
import { MASKED, parsePlan, regionsOf, shown, withinMask } from "./plan.js";
import { Model } from "./procedure.js";

export class Editor {
    #model;

    constructor(model) {
        this.#model = model;
    }

    /** See `Graphs.open`. */
    static async open(base, runtimeBase, options) {
        return new Editor(new Model(await Graphs.open(base, runtimeBase, options)));
    }

    /** What a page may know: how graphs run, and the words of plans. */
    get facts() {
        const { graphs, settings } = this.#model;
        return { ...graphs.conditions, model: graphs.manifest.name, vocabulary: settings.vocabulary };
    }

    async plan(instruction) {
        this.#check(instruction);
        return shown(await this.#model.plan(instruction));
    }

    /**
     * @typedef {import("./photo.js").Picture} Picture
     * @param {{image: Picture, mask?: Picture, wish: string | object}} request
     * @param {(stage: string, fraction: number) => Promise<void>} report Called before each stage; may throw to stop.
     */
    async edit({ image, mask: marks, wish }, report) {
        const clock = new StageClock();
        const step = async (stage, fraction) => {
            clock.start(stage);
            await report(stage, fraction);
        };
        await step("text", 0);
        const read = await this.#read(wish);
        await step("decode", 0.05);
        let pixels = await decoded(image);
        const limits = this.#model.settings.mask;
        const mask = marks ? maskOf(await decoded(marks), pixels.width, pixels.height, limits) : null;
        const { plan, dropped } = fitted(read, mask !== null, this.#model.vocabulary, typeof wish !== "string");
        const notes = [];
        if (plan.edits.length) {
            pixels = await this.#model.render(pixels, plan, mask, step, (note) => notes.push(note));
        }
        const warnings = [...dropped, ...planWarnings(plan, this.#model.settings.beyond_threshold), ...notes];
        return { pixels, opaque: isOpaque(pixels), plan: shown(plan), warnings, seconds: clock.stop() };
    }

    close() {
        return this.#model.graphs.close();
    }

    #read(wish) {
        if (typeof wish !== "string") return parsePlan(wish, this.#model.vocabulary, this.#model.settings.max_edits);
        this.#check(wish);
        return this.#model.plan(wish);
    }

    #check(text) {
        const most = this.#model.settings.max_instruction_characters;
        const count = [...text].length;
        const details = { param: "prompt" };
        if (!text.trim()) {
            throw new EditError("InstructionError", "the instruction is empty", {
                hint: "say what to change, e.g. 'warmer'",
                ...details,
            });
        }
        if (count > most) {
            throw new EditError("InstructionError", "the instruction is too long", {
                got: `${count} characters`,
                allowed: `1 to ${most} characters`,
                hint: "say only what to change",
                ...details,
            });
        }
    }
}

/** Fits a plan to the mask that was given or not; `asked`: the caller wrote the plan, so nothing may be dropped. */
function fitted(plan, hasMask, vocabulary, asked) {
    if (hasMask) return { plan: withinMask(plan, vocabulary), dropped: [] };
    if (!regionsOf(plan).has(MASKED)) return { plan, dropped: [] };
    const names = plan.edits
        .filter((edit) => edit.region === MASKED)
        .map((edit) => edit.adjust)
        .join(", ");
    if (asked) {
        throw new EditError("PlanError", "the plan edits the masked area but no mask was given", {
            got: names,
            hint: "send a mask: transparent, or white on black, where the edit belongs",
            param: "mask",
        });
    }
    const edits = plan.edits.filter((edit) => edit.region !== MASKED);
    const note = `left out because no mask was given: ${names}; paint over the place and try again`;
    return { plan: { ...plan, edits }, dropped: [note] };
}

function planWarnings({ edits, beyond }, threshold) {
    const warnings = [];
    if (beyond >= threshold) {
        const score = beyond.toFixed(2);
        warnings.push(`the request goes beyond what this model can do (score ${score}); only the plan was carried out`);
    }
    if (!edits.length) {
        warnings.push("the plan is empty, so the photo is unchanged; name an adjustment, for example 'warmer'");
    }
    return warnings;
}

/** Adds up the seconds of each stage. */
class StageClock {
    #seconds = {};
    #stage = null;
    #since = 0;

    start(stage) {
        this.stop();
        this.#stage = stage;
    }

    stop() {
        const now = performance.now();
        if (this.#stage) this.#seconds[this.#stage] = (this.#seconds[this.#stage] ?? 0) + (now - this.#since) / 1000;
        [this.#stage, this.#since] = [null, now];
        return this.#seconds;
    }
}
