/* The first view: what is different since the last night, with what changed in the environment beside it. */
const KINDS = [
  ["new", "New findings", ["new", "first", "changed"], "bad", "No case that was OK before has a finding now."],
  ["flaky", "Flaky", ["flaky"], "warn", ""],
  ["incomplete", "Incomplete", ["incomplete"], "warn", ""],
  ["fixed", "Fixed", ["fixed"], "good", ""],
  ["gone", "No longer run", ["gone"], "", ""]];
function changeCount(changes) {
  const places = changes.map((change) => data.changes.indexOf(change));
  return (CELLS.changes ?? []).reduce((sum, row) => sum + places.reduce((part, place) => part + row[place], 0), 0);
}
function showTiles() {
  const failing = changeCount(["same"]);
  const tiles = KINDS.map(([id, title, changes, tone]) => {
    const count = changeCount(changes);
    const body = [el("b", {}, count.toLocaleString("en")), title, el("small", {}, count === 1 ? "case" : "cases")];
    return el("li", { class: count ? tone : "none" }, count ? el("a", { href: `#list-${id}` }, body) : el("span", { class: "tile" }, body));
  });
  tiles.splice(1, 0, el("li", { class: failing ? "bad" : "none" }, failing ? el("a", { href: "#matrix", onclick: () => showStates("same") }, el("b", {}, failing.toLocaleString("en")), "Failing as before", el("small", {}, failing === 1 ? "case" : "cases")) : el("span", { class: "tile" }, el("b", {}, "0"), "Failing as before", el("small", {}, "cases"))));
  find("tiles").replaceChildren(...tiles);
}
function card(group) {
  const named = group.kind ? `${group.kind}${group.stage ? " at " + group.stage : ""}` : group.what ? "error" : "";
  const title = named || `${many(group.count, "case")} in ${group.modes.join(", ")}`;
  const open = group.cells.length ? el("button", { class: "plain", type: "button", onclick: () => openCell(group.cells[0]), "aria-label": `Open ${title}, ${group.models[0]}` }, "Open") : null;
  const between = ["new", "changed", "fixed"].includes(group.change) ? difference(group.difference, group.earlier, group.commit) : null;
  const about = el("div", {}, group.what ? el("p", { class: "what" }, group.what) : null, facts([
    [group.runners.length > 1 ? "Runners" : "Runner", some(group.runners.map((runner) => data.runners[runner].name), 6)], ["Models", some(group.models)], ["Modes", some(group.modes, 8)],
    ["Layer", group.subject], ["Cases", group.count.toLocaleString("en")]]));
  const side = group.change === "flaky" ? el("div", { class: "difference" }, el("p", {}, "OK and not OK with the same commit in the same environment."))
    : group.change === "first" ? el("div", { class: "difference" }, el("p", {}, "There is no earlier result of these cases on this runner.")) : between;
  return el("article", { class: `card ${group.change}` }, el("div", { class: "top" }, el("h4", {}, badge(group.change), " ", title), open), el("div", { class: side ? "two" : "" }, about, side));
}
function showGroups() {
  const parts = KINDS.map(([id, title, changes, , nothing]) => {
    const groups = data.groups.filter((group) => changes.includes(group.change));
    if (!groups.length) return nothing && data.runners.some((runner) => runner.before) ? el("p", { class: "notice plain" }, nothing) : null;
    return el("section", { "aria-labelledby": `list-${id}` }, el("h3", { id: `list-${id}`, tabindex: "-1" }, title, " ", el("span", { class: "number" }, changeCount(changes).toLocaleString("en"))), groups.map(card));
  });
  if (!(CELLS.state ?? []).length) parts.unshift(empty("No results of the matrix.", "Records of `harness check --json FILE` fill this view."));
  if (data.groups_left_out) parts.push(el("p", { class: "quiet" }, `${many(data.groups_left_out, "more group")} of changes: see the matrix.`));
  find("groups").replaceChildren(...parts.filter(Boolean));
}
function noticesOf(runner) {
  const newest = data.nights.at(-1);
  return [
    runner.newest !== newest ? `no results for the night of ${night(newest)}; the newest are of ${night(runner.newest)}.` : "",
    runner.absent.length ? `no records of ${runner.absent.length === 1 ? "shard" : "shards"} ${some(runner.absent, 8)}.` : "",
    runner.stopped ? `${many(runner.stopped, "run")} did not end. Cases without a result are shown as incomplete.` : "",
    runner.before && runner.compared && !runner.shared ? `this night has no case in common with earlier nights, so nothing can be compared.` : ""];
}
function showNotices() {
  const byText = new Map();
  for (const runner of data.runners) for (const text of noticesOf(runner).filter(Boolean)) byText.set(text, [...(byText.get(text) ?? []), runner.name]);
  const rows = [...byText].map(([text, names]) => `${some(names, 6)}: ${text}`).concat(data.refused.map((row) => `${row.subject} on ${row.runner} could not be checked: ${row.reason}`));
  if (data.runners.length && data.runners.every((runner) => !runner.before)) rows.push("There is no earlier night to compare with. From the next night on, this view shows what is new.");
  if (data.cells_left_out) rows.push(`The page holds the most urgent cells; ${many(data.cells_left_out, "more cell")} are in the history.`);
  find("notices").replaceChildren(...rows.filter(Boolean).map((text) => el("p", { class: "notice" }, text)));
}
function showRunners() {
  find("runners-title").hidden = !data.runners.length;
  find("runners").replaceChildren(...data.runners.map((runner) => el("article", { class: "card" }, el("h4", {}, runner.name),
    facts([["Night", night(runner.newest)], ["Compared with", runner.before ? night(runner.before) : "no earlier night"], ["Commit", runner.commit], ...runner.environment.filter(([name]) => name !== "Commit")]))));
}
