"use strict";
/* The words of the page, and how elements are made. Text of a record becomes a text node, and never markup. */
const data = JSON.parse(document.getElementById("overview").textContent);
const find = (id) => document.getElementById(id);
let details = null;
/* The details are large: they are parsed when the first cell is opened. */
function detail(number) {
  details ??= JSON.parse(find("details").textContent);
  return details[number];
}
const STATES = {
  new: ["New", "▲", "not OK now, and OK on the night that it is compared with"],
  first: ["New, first run", "▲", "not OK, and not run on any earlier night"],
  changed: ["Changed", "◆", "not OK now and before, with another finding"],
  flaky: ["Flaky", "≈", "OK and not OK, with the same commit in the same environment"],
  same: ["Failing", "✕", "not OK now, and no news"],
  incomplete: ["Incomplete", "…", "planned for this night, and there is no result"],
  fixed: ["Fixed", "✓", "OK now, and not OK on the night that it is compared with"],
  gone: ["No longer run", "–", "run on the night before, and not planned for this night"],
  waived: ["Waived", "w", "the finding is a known one, with a public issue"],
  latent: ["Latent", "l", "a finding that no user of the layer can meet"],
  skipped: ["Skipped", "○", "the case cannot run here"],
  ok: ["OK", "✓", "every check passed"],
};
const STATUSES = { findings: "Finding", error: "Error", missing: "No result", waived: "Waived", latent: "Latent", skipped: "Skipped", ok: "OK" };
const COUNTED = { findings: "with findings", error: "with an error", missing: "without a result", waived: "waived", latent: "latent", skipped: "skipped", ok: "OK" };
const MARKS = { findings: "✕", error: "!", missing: "…", waived: "w", latent: "l", skipped: "○", ok: "✓" };
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const word = (state) => (STATES[state] ?? [STATUSES[state] ?? state])[0];
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}
const list = (value) => Array.isArray(value) ? value : [];
const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : (more ?? one + "s")}`;
const badge = (state, text) => el("span", { class: `badge ${state}` }, text ?? word(state));
const night = (text) => { const [year, month, day] = text.split("-"); return `${+day} ${MONTHS[month - 1]} ${year}`; };
const short = (text) => { const [, month, day] = text.split("-"); return `${+day} ${MONTHS[month - 1]}`; };
const some = (names, most = 3) => names.length <= most ? names.join(", ") : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
const facts = (rows) => el("dl", { class: "facts" }, rows.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
const empty = (head, text) => el("p", { class: "empty" }, el("strong", {}, head), " ", text);
/* What differs in the environment; `since` is the night of the earlier result. */
function difference(number, since, commit) {
  if (number < 0) return null;
  const rows = data.differences[number].map(([name, before, after]) =>
    el("li", {}, `${name}: `, el("del", {}, before || "none"), " → ", el("ins", {}, after || "none")));
  const nothing = "Nothing that the records name." + (commit ? "" : " They name no commit, so a change of code would not show.");
  return el("div", { class: "difference" }, el("h5", {}, `Changed in the environment since ${night(since)}`), rows.length ? el("ul", {}, rows) : el("p", {}, nothing));
}
function copyable(title, text) {
  const button = el("button", { class: "plain", type: "button", "aria-label": `Copy: ${title}`, onclick: () => copy(text, button) }, "Copy");
  return el("div", { class: "copyable" }, el("div", { class: "copy" }, el("h4", {}, title), button), el("pre", {}, text));
}
async function copy(text, button) {
  try { await navigator.clipboard.writeText(text); }
  catch { /* no permission: the older way */
    const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  find("said").textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; find("said").textContent = ""; }, 2000);
}
