// Plans as plain data: no document, no server.

export const MASKED = "masked";
/** The adjustment that erases what is marked. */
export const ERASING = "inpaint";
const WHITE = "#ffffff";

const key = (edit) => `${edit.adjust} ${edit.region}`;

/**
 * Merge the plan of new words into the current edits. What the user added by hand stays, and an amount that was
 * dragged stays as long as the words still say the same about it.
 */
export function replan(current, fresh) {
  const old = new Map(current.map((edit) => [key(edit), edit]));
  const next = fresh.map((edit) => {
    const before = old.get(key(edit));
    old.delete(key(edit));
    return before && before.said === edit.amount ? { ...edit, amount: before.amount, said: edit.amount }
      : { ...edit, said: edit.amount };
  });
  const byHand = [...old.values()].filter((edit) => edit.said === undefined);
  return [...next, ...byHand];
}

/** Return where an edit applies: with a marked area, the server confines edits of the whole picture to it. */
export function placeOf(edit, adjustment, marked) {
  return marked && edit.region === "all" && adjustment.regions.includes(MASKED) ? MASKED : edit.region;
}

/** Return the edits that can be sent now: those of the marked area only while there is one. */
export const ready = (edits, marked) => edits.filter((edit) => marked || edit.region !== MASKED);

/** Return the edits that wait until an area is marked. */
export const waiting = (edits, marked) => edits.filter((edit) => !marked && edit.region === MASKED);

/** Return the edits as the server takes them. */
export function toServer(edits) {
  return edits.map(({ adjust, amount, region, color }) => (
    color === undefined ? { adjust, amount, region } : { adjust, amount, region, color }
  ));
}

/** Say whether an adjustment has a colour of its own. Servers before takes_color knew only the plain background. */
export const takesColor = (adjustment) => adjustment.takes_color ?? adjustment.name === "fill";

/** Return a new edit by hand: the default amount in the first place that is not taken, or null. */
export function added(adjustment, edits, marked) {
  const taken = new Set(
    edits.filter((edit) => edit.adjust === adjustment.name).map((edit) => placeOf(edit, adjustment, marked)),
  );
  const region = adjustment.regions.find((name) => !taken.has(placeOf({ region: name }, adjustment, marked)));
  if (region === undefined) return null;
  const edit = { adjust: adjustment.name, amount: adjustment.default, region };
  return takesColor(adjustment) ? { ...edit, color: WHITE } : edit;
}

/** Return how many quarter turns clockwise an amount of "rotate" is; halves go to the even one, as in the runtime. */
export function quarterTurns(amount) {
  const quarters = 2 * amount;
  return Math.abs(quarters % 1) === 0.5 ? 2 * Math.round(quarters / 2) : Math.round(quarters);
}

/** Say whether an adjustment, by its name, is only on or off, and whether it is on. */
export const isSwitch = (name) => name.startsWith("flip_");
export const isOn = (amount) => amount > 0.5;

/** Say whether the edits turn, mirror or cut the picture, so that its pixels no longer lie where the photo's do. */
export function displaces(edits) {
  return edits.some(({ adjust, amount }) => (
    (adjust === "rotate" && quarterTurns(amount) !== 0) || (adjust === "crop" && amount > 0)
    || (isSwitch(adjust) && isOn(amount))
  ));
}

/**
 * Return the size in pixels of the result at full size: what the preview's size says about it, and whether that is
 * exact and the photo's own.
 */
export function fullSize(photo, copy, result) {
  const { width, height } = photo;
  const is = (wide, high) => result.width === wide && result.height === high;
  if (is(copy.width, copy.height)) return { width, height, exact: true, own: true };
  if (is(copy.height, copy.width)) return { width: height, height: width, exact: true, own: false };
  if (is(2 * copy.width, 2 * copy.height)) return { width: 2 * width, height: 2 * height, exact: true, own: false };
  const scale = Math.max(width, height) / Math.max(copy.width, copy.height);
  return { width: Math.round(result.width * scale), height: Math.round(result.height * scale), exact: false, own: false };
}
