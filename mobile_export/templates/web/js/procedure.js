/**
 * nano-banana: read the instruction, then restore, correct, render and place. Plain arithmetic between small graphs.
 *
 * It does what edge_runtime/families/nano_banana.py does, in the same order; every number is in the manifest.
 *
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./pixels.js").Plane} Plane
 * @typedef {import("./plan.js").Plan} Plan
 * @typedef {(stage: string, fraction: number) => Promise<void>} Step Called before each stage; may throw to stop.
 */

import { blended, enlarged, placed } from "./canvas.js";
import { EditError } from "./errors.js";
import { ERASING, MASKED, Vocabulary, planOf, regionsOf } from "./plan.js";
import { rendered, tensor } from "./rendering.js";
import { resizedForModel } from "./resize.js";
import { mended, mendedInside } from "./restoration.js";
import { withoutAlpha } from "./pixels.js";

const SIDES = ["subject", "background"];
const PASSES = [SIDES, ["skin", "rest"], [MASKED]];
const UPSCALE = "upscale";

export class Model {
    /** @param {import("./graphs.js").Graphs} graphs */
    constructor(graphs) {
        this.graphs = graphs;
        this.settings = graphs.manifest.settings;
        this.vocabulary = new Vocabulary(this.settings.vocabulary);
    }

    /** Reads an instruction. @returns {Promise<Plan>} */
    async plan(instruction) {
        const bytes = new TextEncoder().encode(instruction.trim());
        const allowed = this.settings.max_instruction_bytes;
        if (bytes.length > allowed) {
            throw new EditError("InstructionError", "the instruction is too long for this model", {
                got: `${bytes.length} bytes of UTF-8`,
                allowed: `at most ${allowed} bytes`,
                param: "prompt",
            });
        }
        const found = await this.graphs.run("text", { tokens: tensor(Int32Array.from(bytes), 1, bytes.length) });
        const { amounts, beyond, color } = found;
        const plain = { amounts: amounts.data, beyond: beyond.data, color: color.data };
        return planOf(this.vocabulary, plain, this.settings.color_axis);
    }

    /**
     * Carries a plan out.
     *
     * @param {Pixels} pixels
     * @param {Plan} plan
     * @param {Plane | null} mask The photo's size: 1 where the user painted.
     * @param {Step} step
     * @param {(note: string) => void} say Gets sentences for the user.
     * @returns {Promise<Pixels>}
     */
    async render(pixels, plan, mask, step, say) {
        const masks = mask ? { [MASKED]: mask } : {};
        const regions = regionsOf(plan);
        if ([...SIDES, "skin"].some((region) => regions.has(region))) {
            await step("vision", 0.1);
            Object.assign(masks, await this.#masks(pixels));
            for (const note of doubts(regions, masks, this.settings.faintest)) say(note);
        }
        const { restore_axis: restoring, corrections: groups, canvas_adjustments: placing } = this.settings;
        const of = (names) => plan.edits.filter((edit) => names.includes(edit.adjust));
        const restored = [...restoring, ERASING].filter((name) => name !== UPSCALE);
        pixels = await this.#restored(pixels, of(restored), masks, restorationSteps(step));
        const corrected = of(Object.keys(groups));
        let extra = new Float32Array(this.vocabulary.adjustments.length);
        if (corrected.length) {
            await step("auto", 0.4);
            extra = await this.#corrections(pixels, corrected);
        }
        const apart = [...restoring, ERASING, ...Object.keys(groups), ...placing];
        const edits = plan.edits.filter((edit) => !apart.includes(edit.adjust));
        pixels = await this.#rendered(pixels, edits, extra, masks, step);
        pixels = await this.#upscaled(pixels, of([UPSCALE]), step);
        return placed(pixels, of(placing), masks, this.settings.canvas);
    }

    #square(pixels) {
        const side = this.settings.mask_pixels;
        return tensor(withoutAlpha(resizedForModel(pixels, side, side)), 1, side, side, 3);
    }

    async #masks(pixels) {
        const side = this.settings.mask_pixels;
        const found = await this.graphs.run("vision", { image: this.#square(pixels) });
        const mask = (data) => ({ data, width: side, height: side });
        const { subject, skin } = found;
        return {
            subject: mask(subject.data),
            background: mask(subject.data.map((value) => 1 - value)),
            skin: mask(skin.data),
        };
    }

    /** What the photo needs, of the groups that are asked for. */
    async #corrections(pixels, asked) {
        const { corrections: needed } = await this.graphs.run("auto", { image: this.#square(pixels) });
        const shares = new Float32Array(needed.data.length);
        for (const { adjust, amount } of asked) {
            for (const name of this.settings.corrections[adjust]) {
                const place = this.vocabulary.index(name);
                shares[place] = Math.max(shares[place], amount);
            }
        }
        return needed.data.map((value, place) => value * shares[place]);
    }

    /** One run of `restore` for each region that is named, the whole photo first. */
    async #restored(pixels, edits, masks, report) {
        const { restoration } = this.settings;
        for (const region of this.vocabulary.regions) {
            const chosen = edits.filter((edit) => edit.region === region);
            if (!chosen.length) continue;
            const graph = this.#mender(chosen);
            if (region === MASKED) {
                const fill = chosen.reduce((sum, edit) => sum + (edit.adjust === ERASING ? edit.amount : 0), 0);
                pixels = await mendedInside(pixels, graph, restoration, report, masks[MASKED], fill);
                continue;
            }
            const whole = await mended(pixels, graph, restoration, report);
            pixels = region === "all" ? whole : blended(pixels, whole, masks[region]);
        }
        return pixels;
    }

    /** `fill` for what is marked, then `restore` with the strengths of the edits that it does. */
    #mender(edits) {
        const axis = this.settings.restore_axis;
        const strengths = new Float32Array(axis.length);
        for (const { adjust, amount } of edits) if (adjust !== ERASING) strengths[axis.indexOf(adjust)] = amount;
        return async ({ data, width, height }, hole) => {
            const image = () => tensor(data, 1, height, width, 4);
            if (hole.data.some(Boolean)) {
                const mask = tensor(hole.data, 1, 1, height, width);
                data = (await this.graphs.run("fill", { image: image(), mask })).filled.data;
            }
            if (strengths.some(Boolean)) {
                const feeds = { image: image(), strengths: tensor(strengths, 1, axis.length) };
                data = (await this.graphs.run("restore", feeds)).restored.data;
            }
            return { data, width, height };
        };
    }

    /** One pass per kind of region: the whole photo with subject and background, the skin, the masked area. */
    async #rendered(pixels, edits, extra, masks, step) {
        const pass = (chosen, rows, more) => rendered(this, pixels, { edits: chosen, rows, extra: more }, masks, step);
        const none = new Float32Array(extra.length);
        let everywhere = edits.filter((edit) => edit.region === "all");
        const pending = () => everywhere.length > 0 || extra.some(Boolean);
        for (const rows of PASSES) {
            const regional = edits.filter((edit) => rows.includes(edit.region));
            if (!regional.length) continue;
            if (rows.includes(MASKED)) {
                if (pending()) pixels = await pass(everywhere, ["all"], extra);
                pixels = blended(pixels, await pass(regional, rows, none), masks[MASKED]);
            } else {
                pixels = await pass([...everywhere, ...regional], rows, extra);
            }
            [everywhere, extra] = [[], none];
        }
        return pending() ? pass(everywhere, ["all"], extra) : pixels;
    }

    async #upscaled(pixels, edits, step) {
        if (!edits.length) return pixels;
        const { width, height } = pixels;
        const allowed = this.settings.max_upscaled_pixels;
        if (4 * width * height > allowed) {
            throw new EditError("PlanError", "the photo is too large to be enlarged", {
                got: `${width} x ${height}`,
                allowed: `up to ${Math.floor(allowed / 4)} pixels`,
                hint: "ask for a smaller size first",
                param: "plan",
            });
        }
        return mended(enlarged(pixels), this.#mender(edits), this.settings.restoration, restorationSteps(step));
    }
}

/** Turns the shares of a restoration into steps. */
const restorationSteps = (step) => (share) => step("restore", 0.15 + 0.25 * share);

/** Sentences for regions that the photo doesn't seem to have. */
function doubts(regions, masks, faintest) {
    const asked = { skin: regions.has("skin"), subject: SIDES.some((side) => regions.has(side)) };
    const mean = ({ data }) => data.reduce((sum, value) => sum + value, 0) / data.length;
    return ["subject", "skin"]
        .filter((name) => asked[name] && mean(masks[name]) < faintest[name])
        .map((name) => `no clear ${name} was found in the photo, so edits by this region may do little or look patchy`);
}
