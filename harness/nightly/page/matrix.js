/* The matrix: a row for each model and backend on a runner, a column for each mode. Rows are made as they scroll into view. */
const FILTERS = [["", "All"], ["bad", "Not OK"], ["new", "New"], ["same", "Failing as before"], ["flaky", "Flaky"], ["incomplete", "Incomplete"], ["fixed", "Fixed"], ["gone", "No longer run"]];
const GROUPED = { new: ["new", "first", "changed"], bad: ["new", "first", "changed", "same", "flaky", "incomplete"] };
const FIRST_ROWS = 40, MORE_ROWS = 120;
const chosen = { text: "", state: "", runner: -1 };
let rows = [], made = 0, modes = [], hay = null, shown = null, current = null;
function prepare() {
  const byRow = new Map(), present = new Set(CELLS.mode ?? []);
  modes = [...present].map((number) => WORDS[number]);
  const order = (mode) => { const at = data.modes.indexOf(mode); return at < 0 ? data.modes.length : at; };
  modes.sort((a, b) => order(a) - order(b) || a.localeCompare(b));
  const column = new Map(modes.map((mode, place) => [mode, place]));
  (CELLS.state ?? []).forEach((_, index) => {
    const key = `${CELLS.runner[index]} ${CELLS.subject[index]} ${CELLS.model[index]} ${CELLS.backend[index]}`;
    if (!byRow.has(key)) byRow.set(key, { first: index, cells: new Array(modes.length).fill(-1) });
    byRow.get(key).cells[column.get(cellWord("mode", index))] = index;
  });
  const urgency = (row) => Math.min(...row.cells.filter((index) => index >= 0).map((index) => isOf("new", index) ? 0 : isOf("bad", index) ? 1 : 2));
  return [...byRow.values()].map((row) => [urgency(row), row]).sort((a, b) => a[0] - b[0]).map(([, row]) => row);
}
function haystack(index) {
  const kinds = new Set(CELLS.cases[index].flatMap((row) => row.detail >= 0 ? (detail(row.detail).findings ?? []).map((one) => one.kind) : []));
  return [...["model", "mode", "backend", "subject"].map((column) => cellWord(column, index)), runnerOf(index).name, word(cellWord("state", index)), ...kinds].join(" ").toLowerCase();
}
const isOf = (state, index) => (GROUPED[state] ?? [state]).includes(cellWord("state", index));
const inState = (state) => (CELLS.state ?? []).reduce((sum, _, index) => sum + isOf(state, index), 0);
const buildHay = () => { hay ??= (CELLS.state ?? []).map((_, index) => haystack(index)); };
function matches(index) {
  if (chosen.runner >= 0 && CELLS.runner[index] !== chosen.runner) return false;
  if (chosen.state && !isOf(chosen.state, index)) return false;
  return chosen.words.every((text) => hay[index].includes(text));
}
function filter() {
  chosen.words = chosen.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (chosen.words.length) buildHay();
  shown = new Uint8Array((CELLS.state ?? []).length);
  let count = 0;
  for (let index = 0; index < shown.length; index++) count += shown[index] = +matches(index);
  visible = rows.filter((row) => row.cells.some((index) => index >= 0 && shown[index]));
  find("count").textContent = shown.length === 0 ? "" : count === shown.length ? many(count, "cell") : `${count.toLocaleString("en")} of ${many(shown.length, "cell")}`;
  draw();
}
let visible = [];
function rowElement(row) {
  const { first } = row;
  const side = [data.runners.length > 1 ? runnerOf(first).name : "", severalSubjects ? cellWord("subject", first) : ""].filter(Boolean).join(" · ");
  const head = el("th", { scope: "row" }, cellWord("model", first), el("small", {}, [cellWord("backend", first), side].filter(Boolean).join(" · ")));
  return el("tr", {}, head, row.cells.map((index, column) => index >= 0 && shown[index] ? el("td", { "data-name": modes[column] }, cellButton(index)) : el("td", {})));
}
function cellButton(index) {
  const state = cellWord("state", index), not = bad(index), all = total(index);
  const text = state === "ok" || state === "fixed" ? `${all}` : state === "gone" ? "" : not === all ? `${all}` : `${not}/${all}`;
  const label = `${cellWord("model", index)}, ${cellWord("mode", index)}, ${cellWord("backend", index)}, ${runnerOf(index).name}: ${word(state)}, ${summary(index)}`;
  return el("button", { class: `cell ${state}`, type: "button", tabindex: "-1", "data-cell": index, "aria-label": label, title: `${word(state)}: ${summary(index)}` }, `${(STATES[state] ?? ["", "?"])[1]} ${text}`);
}
function draw() {
  const body = el("tbody", {});
  made = 0;
  const heads = modes.map((mode) => el("th", { scope: "col", class: "mode" }, mode));
  const table = el("table", { class: "matrix" }, el("caption", { class: "unseen" }, "Each cell opens its findings. Arrow keys move between cells."), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Model and backend"), heads)), body);
  const nothing = !rows.length ? empty("No results of the matrix.", "Records of `harness check --json FILE` fill this table.") : !visible.length ? empty("No cell matches.", "Change the filter, or show all.") : null;
  find("table").replaceChildren(nothing ?? table);
  find("table").scrollTop = 0;
  if (!nothing) grow(FIRST_ROWS);
  const first = find("table").querySelector(".cell");
  if (first) { first.tabIndex = 0; current = first; }
}
function grow(count) {
  const body = find("table").querySelector("tbody");
  if (!body || made >= visible.length) return false;
  body.append(...visible.slice(made, made + count).map(rowElement));
  made += count;
  return true;
}
const nearEnd = () => { const box = find("table"); return box.scrollHeight - box.scrollTop - box.clientHeight < 1500 && box.getBoundingClientRect().bottom - innerHeight < 1500; };
function move(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -99], End: [0, 99] }[event.key];
  const cell = event.target.closest(".cell");
  if (!step || !cell) return;
  event.preventDefault();
  const target = step[0] ? vertical(cell, step[0]) : horizontal(cell, step[1]);
  if (target) { current.tabIndex = -1; target.tabIndex = 0; target.focus(); current = target; target.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" }); }
}
function horizontal(cell, step) {
  const own = [...cell.closest("tr").querySelectorAll(".cell")];
  return own[Math.min(own.length - 1, Math.max(0, own.indexOf(cell) + step))];
}
function vertical(cell, step) {
  const column = cell.closest("td").cellIndex;
  for (let row = cell.closest("tr"); row; ) {
    let next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    if (!next && step > 0 && grow(MORE_ROWS)) next = row.nextElementSibling;
    const there = next?.cells[column]?.querySelector(".cell");
    if (there) return there;
    row = next;
  }
  return null;
}
let severalSubjects = false;
function choices(id, options, key) {
  find(id).replaceChildren(...options.map(([value, text, count, sign]) => el("button", { type: "button", "aria-pressed": String(chosen[key] === value), "data-value": value, onclick: (event) => { chosen[key] = value; press(id, event.currentTarget); filter(); } }, sign ? el("span", { class: "sign", "aria-hidden": "true" }, sign) : null, text, count ? el("span", { class: "number" }, count.toLocaleString("en")) : null)));
}
const press = (id, button) => find(id).querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
function showStates(state) {
  chosen.state = state;
  press("states", find("states").querySelector(`[data-value="${state}"]`));
  if (shown) filter();
}
function startMatrix() {
  rows = prepare();
  severalSubjects = new Set(CELLS.subject ?? []).size > 1;
  choices("states", FILTERS.map(([state, text]) => [state, text, state ? inState(state) : 0, STATES[state]?.[1]]), "state");
  choices("runner-choices", [[-1, "All"], ...data.runners.map((runner, place) => [place, runner.name])], "runner");
  find("runner-field").hidden = data.runners.length < 2;
  find("filter").addEventListener("input", (event) => { chosen.text = event.target.value; filter(); });
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("table").addEventListener("click", (event) => { const cell = event.target.closest(".cell"); if (cell) openCell(+cell.dataset.cell); });
  find("table").addEventListener("keydown", move);
  find("table").addEventListener("scroll", () => { if (nearEnd()) grow(MORE_ROWS); }, { passive: true });
  addEventListener("scroll", () => { if (!find("view-matrix").hidden && nearEnd()) grow(MORE_ROWS); }, { passive: true });
  find("legend").replaceChildren(...Object.entries(STATES).filter(([state]) => state !== "first").map(([state, [name, sign, about]]) => el("div", {}, el("dt", {}, badge(state, `${sign} ${name}`)), el("dd", {}, about))));
}
