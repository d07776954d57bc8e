// Plans as plain data: no document, no server.

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

/** Return the edits as the server takes them. */
export function toServer(edits) {
  return edits.map(({ adjust, amount, region, color }) => (
    color === undefined ? { adjust, amount, region } : { adjust, amount, region, color }
  ));
}

/** Return an amount for people: "+40", "−25"; without a sign where there is only one direction. */
export function amountText(adjustment, amount) {
  const percent = Math.round(amount * 100);
  if (percent < 0) return `−${-percent}`;
  return adjustment.low < 0 && percent > 0 ? `+${percent}` : `${percent}`;
}

/** Return a new edit by hand: the default amount in the first region that is not taken, or null. */
export function added(adjustment, edits) {
  const taken = new Set(edits.filter((edit) => edit.adjust === adjustment.name).map((edit) => edit.region));
  const region = adjustment.regions.find((name) => !taken.has(name));
  if (region === undefined) return null;
  const edit = { adjust: adjustment.name, amount: adjustment.default, region };
  return adjustment.name === "fill" ? { ...edit, color: "#ffffff" } : edit;
}
