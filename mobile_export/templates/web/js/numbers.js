/** Rounding as Python and NumPy do it: halves go to the even neighbour. */

/**
 * @param {number} value
 * @param {number} [digits] Decimals that are kept, 0 to 3.
 */
export function roundHalfEven(value, digits = 0) {
    const power = 10 ** digits;
    // toFixed decides by the exact value. Only sixteenths and coarser can lie exactly between two of its steps.
    const halves = value * power * 2;
    const between = Number.isInteger(value * 16) && Number.isInteger(halves) && halves % 2 !== 0;
    const rounded = between ? (2 * Math.round(halves / 4)) / power : Number(value.toFixed(digits));
    return rounded + 0 === 0 ? 0 : rounded;
}

/** The least multiple of whole steps: 7 / 2 -> 4. */
export const ceilDivided = (value, by) => Math.ceil(value / by);
