// The ranking as tables. Text is set as text, so that a model's name can't become markup.

const percent = (share) => `${Math.round(100 * share)} %`;
const points = (score) => `${Math.round(score) < 0 ? "−" : "+"}${Math.abs(Math.round(score))}`;

export function show(section, ranking) {
  section.replaceChildren(...ranking.groups.flatMap((_, number) => tables(ranking, number)), note(ranking));
  section.hidden = false;
}

function tables(ranking, number) {
  const standings = ranking.standings.filter((one) => one.group === number);
  if (!standings.some((one) => one.won + one.equal + one.lost)) return [];
  const models = new Set(standings.map((one) => one.model));
  const scores = standings.map(({ model, won, equal, lost, score }, place) =>
    [place + 1, model, won, equal, lost, points(score.value), `${points(score.low)} to ${points(score.high)}`]);
  const duels = ranking.duels.filter((duel) => models.has(duel.better)).map(({ better, worse, votes, chance }) =>
    [better, worse, votes, percent(chance.value), `${percent(chance.low)} to ${percent(chance.high)}`,
      chance.low > 0.5 ? "" : "not decided"]);
  return [
    table(["", "model", "won", "equal", "lost", "score", "95 %"], scores, [1]),
    table(["better", "than", "votes", "chosen", "95 %", ""], duels, [0, 1]),
  ];
}

function table(head, rows, names) {
  const made = document.createElement("table");
  const add = (parent, kind, cells) => {
    const line = parent.insertRow();
    cells.forEach((text, place) => {
      const cell = document.createElement(kind);
      cell.textContent = text;
      if (names.includes(place)) cell.className = "name";
      line.append(cell);
    });
  };
  add(made.createTHead(), "th", head);
  const body = made.createTBody();
  for (const cells of rows) add(body, "td", cells);
  const wide = document.createElement("div");
  wide.className = "wide";
  wide.append(made);
  return wide;
}

function note({ votes, groups }) {
  const said = document.createElement("p");
  said.className = "note";
  const apart = groups.length > 1 ? ` No votes connect these groups, so they can't be compared: ${
    groups.map((group) => group.join(", ")).join("; ")}.` : "";
  said.textContent = votes
    ? `${votes} votes from everybody. The score is in Elo points: 100 more wins 64 % of the votes that aren't equal.${apart}`
    : "Nobody has voted yet, so there is no ranking.";
  return said;
}
