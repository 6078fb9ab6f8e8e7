/* Views are chosen by the address's fragment, so that a link and the back button work. */
const notOk = (CELLS.state ?? []).filter((state) => GROUPED.bad.includes(WORDS[state])).length;
const VIEWS = [["changes", "What changed", 0], ["matrix", "Matrix", notOk], ["times", "Times", 0],
  ["ops", "Custom ops", data.audits.filter((row) => row.status === "breaks").length], ["selftest", "Self-test", data.selftests.filter((row) => row.status === "findings").length]];
const MAKE = { matrix: filter, times: showTimes, ops: showAudits, selftest: showFaults };
const done = new Set();
function show() {
  const id = location.hash.slice(1), view = VIEWS.some(([name]) => name === id) ? id : id.startsWith("list-") || !done.size ? "changes" : null;
  if (!view) return;
  for (const [name] of VIEWS) find(`view-${name}`).hidden = name !== view;
  document.querySelectorAll("nav a").forEach((link) => link.hash === `#${view}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));
  if (MAKE[view] && !done.has(view)) MAKE[view]();
  done.add(view);
  document.querySelector("nav [aria-current]").scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
  if (!id.startsWith("list-")) scrollTo({ top: 0, behavior: "instant" });
  if (id.startsWith("list-")) find(id)?.focus();
}
find("views").replaceChildren(...VIEWS.map(([id, title, count]) => el("li", {}, el("a", { href: `#${id}` }, title, count ? el("span", { class: "number" }, count.toLocaleString("en"), el("span", { class: "unseen" }, " not OK")) : null))));
const older = data.older ? `; the page shows the newest ${data.nights.length}, the history has ${data.older} more` : "";
find("about").textContent = data.nights.length ? `Night of ${night(data.nights.at(-1))} · ${many(data.runners.length, "runner")} · ${many(data.nights.length, "night")}${older}` : "No night";
document.title = `Nightly results, ${data.nights.length ? night(data.nights.at(-1)) : "no night"}`;
showNotices();
showTiles();
showGroups();
showRunners();
startMatrix();
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea") || find("detail").open) return;
  event.preventDefault();
  const own = document.querySelector("main > section:not([hidden]) input[type=search]");
  if (!own) { location.hash = "#matrix"; show(); }
  (own ?? find("filter")).focus();
});
show();
/* So that the first letter typed is as fast as the others. */
(window.requestIdleCallback ?? setTimeout)(buildHay);
