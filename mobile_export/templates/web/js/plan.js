/**
 * The edit plan: which adjustments, how strong, on which region. Plain data, checked against the manifest's vocabulary.
 *
 * @typedef {{adjust: string, amount: number, region: string, color?: string}} Edit
 * @typedef {{edits: Edit[], beyond: number}} Plan
 */

import { EditError } from "./errors.js";
import { roundHalfEven } from "./numbers.js";

export const MASKED = "masked";
export const ERASING = "inpaint";
const COLOR = /^#[0-9a-fA-F]{6}$/;
const bad = (what, details) => new EditError("PlanError", what, { param: "plan", ...details });

/** All adjustments in the order of the graphs' `amounts` axis, the regions and the named colours. */
export class Vocabulary {
    constructor({ adjustments, regions, colors }) {
        this.adjustments = adjustments;
        this.regions = regions;
        this.colors = colors;
        this.places = new Map(adjustments.map((adjustment, place) => [adjustment.name, place]));
    }

    index(name) {
        if (!this.places.has(name)) {
            throw bad("unknown adjustment", { got: name, allowed: [...this.places.keys()].join(", ") });
        }
        return this.places.get(name);
    }

    adjustment(name) {
        return this.adjustments[this.index(name)];
    }

    color(value) {
        if (typeof value === "string" && COLOR.test(value)) return value.toLowerCase();
        if (Object.hasOwn(this.colors, value)) return this.colors[value];
        throw bad("unknown colour", { got: value, allowed: `#rrggbb or ${Object.keys(this.colors).join(", ")}` });
    }
}

/**
 * What the text graph said, as a plan. Amounts come in steps of 0.01.
 *
 * @param {Vocabulary} vocabulary
 * @param {{amounts: Float32Array, beyond: Float32Array, color: Float32Array}} found
 * @param {string[]} colorAxis
 * @returns {Plan}
 */
export function planOf(vocabulary, found, colorAxis) {
    const paint = vocabulary.colors[colorAxis[found.color.indexOf(Math.max(...found.color))]];
    const edits = [];
    vocabulary.regions.forEach((region, row) => {
        vocabulary.adjustments.forEach(({ name, low, high, regions, takes_color: colored }, place) => {
            const value = found.amounts[row * vocabulary.adjustments.length + place];
            const amount = roundHalfEven(Math.min(Math.max(value, low), high), 2);
            if (!amount || !regions.includes(region)) return;
            edits.push({ adjust: name, amount, region, ...(colored && { color: paint }) });
        });
    });
    return { edits, beyond: found.beyond[0] };
}

/** The plan as the HTTP API shows it, with three decimals. */
export const shown = ({ edits, beyond }) => ({
    edits: edits.map((edit) => ({ ...edit, amount: roundHalfEven(edit.amount, 3) })),
    beyond: roundHalfEven(beyond, 3),
});

/** Checks a plan that somebody wrote; throws an EditError that names the member at fault. */
export function parsePlan(data, vocabulary, maxEdits) {
    if (!isObject(data) || !Array.isArray(data.edits)) {
        throw bad("a plan must be an object with a list 'edits'", {
            got: data,
            hint: 'for example {"edits": [{"adjust": "warmth", "amount": 0.4, "region": "all"}]}',
        });
    }
    refuseUnknown(data, ["edits", "beyond"], "the plan");
    if (data.edits.length > maxEdits) {
        throw bad("too many edits in the plan", { got: data.edits.length, allowed: maxEdits });
    }
    return {
        edits: data.edits.map((edit) => parseEdit(edit, vocabulary)),
        beyond: number(data.beyond ?? 0, "beyond", 0, 1),
    };
}

function parseEdit(data, vocabulary) {
    if (!isObject(data) || typeof data.adjust !== "string") {
        throw bad("an edit must be an object with 'adjust' and 'amount'", { got: data });
    }
    refuseUnknown(data, ["adjust", "amount", "region", "color"], "an edit");
    const { name, low, high, regions, default: usual, takes_color: colored } = vocabulary.adjustment(data.adjust);
    const amount = number(data.amount ?? usual, `amount of ${name}`, low, high);
    const region = data.region ?? regions[0];
    if (!regions.includes(region)) {
        throw bad(`${name} can't be applied to this region`, { got: region, allowed: regions.join(", ") });
    }
    if (colored) return { adjust: name, amount, region, color: vocabulary.color(data.color ?? "white") };
    if (data.color !== undefined) {
        const allowed = vocabulary.adjustments
            .filter((one) => one.takes_color)
            .map((one) => one.name)
            .join(", ");
        throw bad("this adjustment takes no colour", { got: name, allowed });
    }
    return { adjust: name, amount, region };
}

/** Confines a plan to the user's mask. Erasing what is marked isn't beyond the model any more. */
export function withinMask({ edits, beyond }, vocabulary) {
    const confined = edits.map((edit) =>
        edit.region === "all" && vocabulary.adjustment(edit.adjust).regions.includes(MASKED)
            ? { ...edit, region: MASKED }
            : edit,
    );
    return { edits: confined, beyond: confined.some((edit) => edit.adjust === ERASING) ? 0 : beyond };
}

export const regionsOf = (plan) => new Set(plan.edits.map((edit) => edit.region));

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function refuseUnknown(data, known, what) {
    const unknown = Object.keys(data)
        .filter((name) => !known.includes(name))
        .sort();
    if (unknown.length) throw bad(`unknown members in ${what}`, { got: unknown.join(", "), allowed: known.join(", ") });
}

function number(value, name, low, high) {
    if (typeof value === "number" && value >= low && value <= high) return value;
    throw bad(`${name} is out of range`, { got: value, allowed: `${low} to ${high}` });
}
