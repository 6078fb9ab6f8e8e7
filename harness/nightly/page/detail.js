/* The panel of one cell: its history, and each case with what was found. */
const RANKS = data.ranks, CELLS = data.cells, WORDS = data.words;
const cellWord = (column, index) => WORDS[CELLS[column][index]];
const runnerOf = (index) => data.runners[CELLS.runner[index]];
function total(index) { return CELLS.counts[index].reduce((sum, count) => sum + count, 0); }
function bad(index) { return CELLS.counts[index].reduce((sum, count, rank) => sum + (RANKS[rank] === "ok" ? 0 : count), 0); }
function history(worst) {
  return el("ul", { class: "nights" }, [...worst].map((sign, place) => {
    const status = sign === "-" ? "" : RANKS[+sign];
    const text = status ? STATUSES[status] : "Not run";
    return el("li", { class: status, title: `${night(data.nights[place])}: ${text}` }, el("b", { "aria-hidden": "true" }, MARKS[status] ?? "·"), short(data.nights[place]), el("span", { class: "unseen" }, `: ${text}`));
  }));
}
const place = (line) => line ? `${line.file}:${line.number}` : "";
function finding(one) {
  const widths = list(one.widths).map((width) => el("li", {}, width.text, el("span", { class: "quiet" }, ` — made by ${width.stage}${width.line ? ", " + place(width.line) : ""}`)));
  return el("section", { class: "finding" },
    el("h4", {}, one.kind ?? "finding", one.stage ? ` at ${one.stage}` : ""),
    el("p", {}, one.what ?? ""),
    one.line ? el("pre", {}, `${place(one.line)}\n${one.line.text}`) : null,
    widths.length ? [el("h4", {}, "Where each width comes from"), el("ul", {}, widths)] : null,
    facts([["Likely cause", one.cause], ["Found by", [one.observer, one.call].filter(Boolean).join(", ")], ["Comes from", one.blame],
      ["Similar to", list(one.similar_to).join("; ")], ["Variation", one.vary], ["Waived for", one.waiver], ["What this kind means", one.kind ? `harness docs ${one.kind}` : ""]]));
}
function caseBody(row, commit) {
  const about = row.detail >= 0 ? detail(row.detail) : {};
  const findings = list(about.findings);
  const changes = Object.entries(about.changes ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  return [
    row.was ? el("p", { class: "quiet" }, `As it was found on ${night(row.earlier)}:`) : null,
    row.detail === -2 ? el("p", { class: "notice plain" }, "The page holds the details of the first findings only. This one is in the records.") : null,
    about.reason ? el("p", {}, about.reason) : null,
    findings.map(finding),
    ["new", "changed", "flaky", "fixed"].includes(row.change) ? difference(row.difference, row.earlier, commit) : null,
    about.reproduce ? copyable("Command that reproduces it", about.reproduce) : null,
    about.script ? copyable("Script that fails the same way", about.script) : null,
    about.traceback ? el("details", {}, el("summary", {}, "Traceback"), el("pre", {}, about.traceback)) : null,
    changes ? el("p", { class: "quiet" }, `Run with ${changes}.`) : null,
    el("h4", {}, "History of this case"), history(row.worst)];
}
function caseRow(row, open, commit) {
  const holder = el("details", { class: "case" }, el("summary", {}, badge(row.change && row.change !== "same" ? row.change : row.status), " ", row.name));
  const fill = () => { if (holder.open && holder.children.length === 1) holder.append(...caseBody(row, commit).flat().filter(Boolean)); };
  holder.addEventListener("toggle", fill);
  holder.open = open;
  fill();
  return holder;
}
function summary(index) {
  const counts = CELLS.counts[index].map((count, rank) => count ? `${count} ${COUNTED[RANKS[rank]]}` : "").filter(Boolean);
  const gone = CELLS.changes[index][data.changes.indexOf("gone")];
  return [...counts, gone ? `${gone} no longer run` : ""].filter(Boolean).join(", ") || "no case";
}
function openCell(index) {
  const dialog = find("detail"), rows = CELLS.cases[index], runner = runnerOf(index);
  const about = [cellWord("backend", index), cellWord("subject", index), runner.name].filter(Boolean).join(" · ");
  const close = el("button", { class: "plain", type: "button", onclick: () => dialog.close() }, "Close");
  const told = CELLS.changes[index].reduce((sum, count) => sum + count, 0);
  dialog.replaceChildren(
    el("div", { class: "head" }, el("div", {}, el("h2", { id: "detail-title" }, `${cellWord("model", index)}, ${cellWord("mode", index)}`), el("p", { class: "quiet" }, about)), close),
    el("p", {}, badge(cellWord("state", index)), ` ${summary(index)}, night of ${night(runner.newest)}; ${CELLS.seconds[index].toLocaleString("en")} s`),
    el("h3", {}, "History"), history(CELLS.worst[index]),
    rows.length ? el("h3", {}, "Cases") : el("p", {}, "There is nothing to report on any case of this cell."),
    ...rows.map((row, place) => caseRow(row, place === 0, runner.commit)),
    told > rows.length ? el("p", { class: "quiet" }, `The first ${rows.length} of ${told} are listed. The others are in the records.`) : "");
  dialog.showModal();
  dialog.scrollTop = 0;
}
