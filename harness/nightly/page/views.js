/* Times, custom ops and the self-test. */
const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
/* A line over the nights, from zero, so that a small change looks small; a gap where a night has no value. */
function trend(values, unit) {
  const known = values.filter((value) => value !== null), top = Math.max(...known) || 1;
  const x = (place) => values.length < 2 ? 72 : 4 + 136 * place / (values.length - 1), y = (value) => 30 - 26 * value / top;
  let path = "", pen = false;
  values.forEach((value, place) => { path += value === null ? "" : `${pen ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`; pen = value !== null; });
  const label = values.map((value, place) => `${short(data.nights[place])}: ${value === null ? "none" : `${figure(value)} ${unit}`}`).join("; ");
  const picture = svg("svg", { class: "trend", viewBox: "0 0 144 32", role: "img", "aria-label": label });
  const title = svg("title", {});
  title.textContent = label;
  picture.append(title, svg("path", { d: "M4 30H140", class: "zero" }), svg("path", { d: path }));
  const last = values.findLastIndex((value) => value !== null);
  if (last >= 0) picture.append(svg("circle", { cx: x(last), cy: y(values[last]), r: 2.6 }));
  return picture;
}
const figure = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
function changed(values) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2 || !known.at(-2)) return el("span", { class: "quiet" }, "–");
  const percent = 100 * (known.at(-1) / known.at(-2) - 1);
  const text = Math.abs(percent).toFixed(1), sign = text === "0.0" ? "" : percent > 0 ? "+" : "−";
  return el("span", { class: percent > 5 ? "slower" : percent < -5 ? "faster" : "quiet" }, `${sign}${text} %`);
}
/* A field above a table: typing shows the rows that have every word. `hay` has a text for each row, in lower case. */
function searchField(label, hay, shown) {
  const count = el("p", { class: "quiet", role: "status" });
  const search = (event) => {
    const wanted = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    const places = [...hay.keys()].filter((place) => wanted.every((one) => hay[place].includes(one)));
    count.textContent = wanted.length ? `${places.length.toLocaleString("en")} of ${many(hay.length, "row")}` : "";
    shown(places);
  };
  const field = el("input", { type: "search", autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/", "aria-label": `Filter: ${label}`, placeholder: "Filter by typing …", oninput: search });
  return el("div", { class: "search" }, field, count);
}
function tableOf(label, heads, bodies, figures = [], hay = []) {
  const kind = (place) => figures.includes(place) ? "figure" : "";
  const body = el("tbody", {});
  const table = el("table", {}, el("caption", { class: "unseen" }, label), el("thead", {}, el("tr", {}, heads.map((head, place) => el("th", { scope: "col", class: kind(place) }, head)))), body);
  const box = el("div", { class: "table", role: "region", tabindex: "0", "aria-label": label }, table);
  const row = (cells) => el("tr", {}, cells.map((cell, place) => place ? el("td", { class: kind(place), ...(cell === "" ? {} : { "data-name": heads[place] }) }, cell) : el("th", { scope: "row" }, cell)));
  let count = 0, chosenRows = bodies;
  const add = () => { body.append(...chosenRows.slice(count, count + 200).map((cells) => row(cells()))); count += 200; more.hidden = count >= chosenRows.length; };
  const only = (places) => { chosenRows = places.map((place) => bodies[place]); count = 0; body.replaceChildren(); box.hidden = !places.length; none.hidden = !!places.length; add(); };
  const more = el("button", { class: "plain more", type: "button", onclick: () => add() }, "Show more");
  const none = empty("No row matches.", "Change the filter.");
  none.hidden = true;
  add();
  return el("div", {}, hay.length > FEW_ROWS ? searchField(label, hay, only) : null, box, none, more);
}
/* A table of so many rows is read at a glance. */
const FEW_ROWS = 12;
const opener = (text, name, onclick) => el("button", { class: "open", type: "button", "aria-label": `Open ${name}`, onclick }, text);
const hayOf = (...texts) => texts.filter(Boolean).join(" ").toLowerCase();
const latest = (values) => { const value = values.findLast((one) => one !== null); return value === undefined ? "–" : figure(value); };
function showTimes() {
  const kernels = data.times.map((row) => () => [el("span", {}, row.kernel, el("small", {}, `${row.shape} · ${row.device}`)), `${row.tokens}`, latest(row.values), changed(row.values), trend(row.values, "µs")]);
  find("kernels").replaceChildren(kernels.length ? tableOf("Kernel times", ["Kernel and shape", "Tokens", "Newest, µs", "Change", "Trend"], kernels, [1, 2, 3]) : empty("No kernel times.", "Records of `harness bench --json FILE` fill this table."));
  const checks = data.durations.map((row) => () => [row.name, latest(row.values), changed(row.values), trend(row.values, "s")]);
  find("durations").replaceChildren(checks.length ? tableOf("Duration of a case, mean", ["Runner and mode", "Newest, s", "Change", "Trend"], checks, [1, 2]) : empty("No durations.", "They come with the results of the matrix."));
}
const AUDIT_ORDER = ["breaks", "missing", "not run", "not applicable", "holds"];
const rank = (status) => { const at = AUDIT_ORDER.indexOf(status); return at < 0 ? AUDIT_ORDER.length : at; };
const AUDIT_WORDS = { breaks: "Breaks", holds: "Holds", missing: "No result", "not run": "Not run", "not applicable": "Not applicable" };
function since(row) { return row.was && row.was !== row.status ? el("span", { class: "quiet" }, `before: ${AUDIT_WORDS[row.was] ?? word(row.was)}`) : ""; }
function showAudits() {
  if (!data.audits.length) return find("audits").replaceChildren(empty("No audit of custom ops.", "Records of `harness audit --json FILE` fill this view."));
  const sorted = [...data.audits].sort((a, b) => rank(a.status) - rank(b.status) || a.op.localeCompare(b.op));
  const count = (status) => data.audits.filter((row) => row.status === status).length;
  const ops = new Set(data.audits.map((row) => row.op)).size;
  const bodies = sorted.map((row) => () => [el("span", {}, row.reproduce || row.script ? opener(row.op, `${row.op}, ${row.row}`, () => openRow(`${row.op}: ${row.row}`, row)) : row.op, el("small", {}, row.runner)), row.row, el("span", {}, badge(row.status.split(" ").at(-1), AUDIT_WORDS[row.status] ?? row.status), " ", since(row)),
    row.what ?? ""]);
  find("audits").replaceChildren(el("p", {}, `${many(ops, "op")}: ${many(count("breaks"), "property breaks", "properties break")}, ${count("holds")} hold.`), tableOf("Audited custom ops", ["Op", "Property", "Result", "What was seen"], bodies, [], sorted.map((row) => hayOf(row.op, row.row, row.runner, AUDIT_WORDS[row.status] ?? row.status, row.what))));
}
function openRow(title, row) {
  const dialog = find("detail");
  dialog.replaceChildren(el("div", { class: "head" }, el("div", {}, el("h2", { id: "detail-title" }, title), el("p", { class: "quiet" }, row.runner)), el("button", { class: "plain", type: "button", onclick: () => dialog.close() }, "Close")),
    el("p", {}, row.what ?? row.mechanism ?? ""),
    facts([["Variant", row.variant], ["Shows when", row.trigger], ["Fixed by", row.fix], ["Reported by", list(row.observers).join(", ")], ["Survived because", list(row.survived).join("; ")], ["False alarms", list(row.false_alarms).join("; ")]]),
    el("ul", {}, list(row.notes).map((note) => el("li", {}, note))), row.reproduce ? copyable("Command that reproduces it", row.reproduce) : "", row.script ? copyable("Script that shows it without the harness", row.script) : "");
  dialog.showModal();
}
function resultOf(row) {
  if (row.status === "missing") return "No result";
  if (row.kind === "correct") return row.status === "ok" ? "No alarm" : "False alarm";
  return row.status === "ok" ? "Found" : "Missed";
}
const MARK_CLASS = { found: "found", "found as another": "another", missed: "missed", failed: "missed", died: "missed" };
function showFaults() {
  if (!data.selftests.length) return find("faults").replaceChildren(empty("No self-test.", "Records of `harness selftest --json FILE` fill this view: which planted fault is seen in which mode."));
  const columns = [...new Set(data.selftests.flatMap((row) => Object.keys(row.marks ?? {})))].sort((a, b) => data.modes.indexOf(a) - data.modes.indexOf(b));
  const faults = data.selftests.filter((row) => row.kind !== "correct"), good = data.selftests.filter((row) => row.kind === "correct");
  const killed = faults.filter((row) => row.status === "ok").length, alarms = good.filter((row) => row.status !== "ok").length;
  const sorted = [...data.selftests].sort((a, b) => (a.status === "ok") - (b.status === "ok") || a.id.localeCompare(b.id));
  const bodies = sorted.map((row) => () => [el("span", {}, opener(row.id, row.id, () => openRow(row.id, row)), el("small", {}, [row.kind === "correct" ? "correct variant" : "", row.runner].filter(Boolean).join(" · "))),
    el("span", {}, badge(row.status === "missing" ? "missing" : row.status === "ok" ? "ok" : "missed", resultOf(row)), " ", since(row)),
    ...columns.map((mode) => { const mark = (row.marks ?? {})[mode]; return mark ? badge(MARK_CLASS[mark] ?? "", mark) : ""; })]);
  find("faults").replaceChildren(el("p", {}, `${killed} of ${many(faults.length, "planted fault")} found; ${many(alarms, "false alarm")} on ${many(good.length, "correct variant")}.`), tableOf("Planted faults and the modes that see them", ["Fault", "Result", ...columns], bodies, [], sorted.map((row) => hayOf(row.id, row.runner, row.kind, resultOf(row), row.mechanism, ...Object.entries(row.marks ?? {}).flat()))));
}
