"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("board");
  const rows = Array.from(table.tBodies[0].rows);
  const form = document.querySelector(".filters");
  const filters = Array.from(form.querySelectorAll("[data-filter]"));
  const count = document.getElementById("count");

  // ---- filtering -------------------------------------------------------------------------------------------
  function fits(row, name, wanted) {
    if (wanted === "") return true;
    if (name === "method") return row.dataset.method.toLowerCase().includes(wanted.toLowerCase());
    if (name === "view" && wanted === "own") return "own" in row.dataset;
    return row.dataset[name] === wanted;
  }
  function filter() {
    let shown = 0;
    for (const row of rows) {
      row.hidden = !filters.every((field) => fits(row, field.dataset.filter, field.value.trim()));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} lines`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());

  // ---- sorting: numbers fall first, names rise first, nothing stays at the end ----------------------------
  const headings = Array.from(table.tHead.rows[0].cells);
  const value = (row, column) => row.cells[column].dataset.value ?? "";
  function sort(column) {
    const heading = headings[column];
    const numeric = heading.classList.contains("number");
    const before = heading.getAttribute("aria-sort");
    const first = numeric && heading.textContent.trim() !== "place" ? "descending" : "ascending";
    const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const sorted = rows.slice().sort((one, other) => {
      const a = value(one, column), b = value(other, column);
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
    });
    table.tBodies[0].append(...sorted);
  }
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (button) button.addEventListener("click", () => sort(column));
  });
  filter();

  // ---- one method's runs -----------------------------------------------------------------------------------
  const dialog = document.getElementById("run");
  const title = document.getElementById("run-title");
  const seeds = document.getElementById("seeds");
  const detail = document.getElementById("detail");

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, text] of Object.entries(attributes)) node.setAttribute(name, text);
    node.append(...children);
    return node;
  }
  function draw(tag, attributes = {}, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, text] of Object.entries(attributes)) node.setAttribute(name, text);
    node.append(...children);
    return node;
  }
  const list = (column, length) => (Array.isArray(column) ? column : Array(length).fill(column));
  function bytes(number) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let place = 0;
    while (number >= 999.5 && place < units.length - 1) { number /= 1000; place += 1; }
    return `${place ? number.toFixed(1) : number} ${units[place]}`;
  }
  function show(name, number) {
    if (number === null || number === undefined) return "";
    if (name.startsWith("bytes")) return bytes(number);
    return name === "clusters" ? String(number) : number.toFixed(2);
  }
  function words(pairs) {
    const found = make("dl", { class: "words" });
    for (const [name, text] of pairs) found.append(make("dt", {}, name), make("dd", {}, text));
    return found;
  }
  function fold(name, child, open = false) {
    const found = make("details", open ? { open: "" } : {}, make("summary", {}, name), child);
    return found;
  }

  function stroke(place) {
    const look = place ? {} : { class: "own" };
    return { ...look, "stroke-dasharray": ["none", "6 3", "2 3", "8 3 2 3"][place % 4] };
  }
  function ticks(low, high) {
    const step = [0.5, 1, 2, 5, 10, 20].find((size) => (high - low) / size <= 5);
    const found = [];
    for (let at = Math.ceil(low / step); at * step <= high; at += 1) found.push(at * step);
    return found;
  }
  function chart(run) {
    const width = Math.max(detail.clientWidth, 280), narrow = width < 560, height = narrow ? 200 : 260;
    const left = 36, right = narrow ? 8 : 170, top = 12, bottom = 28;
    const views = Object.entries(run.accuracies).map(([name, column]) => [name, list(column, run.rounds)]);
    const numbers = views.flatMap(([, column]) => column).filter((number) => number !== null);
    const low = Math.min(...numbers), high = Math.max(Math.max(...numbers), low + 1);
    const x = (round) => left + (round * (width - left - right)) / Math.max(run.rounds - 1, 1);
    const y = (number) => top + ((high - number) * (height - top - bottom)) / (high - low);
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img",
      "aria-label": `mean client accuracy per round: ${views.map(([name]) => name).join(", ")}` });
    for (const number of ticks(low, high))
      picture.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: y(number), y2: y(number) }),
        draw("text", { x: left - 8, y: y(number) + 4, "text-anchor": "end" }, String(number)));
    picture.append(draw("text", { x: left, y: height - 8 }, "round 0"),
      draw("text", { x: width - right, y: height - 8, "text-anchor": "end" }, `round ${run.rounds - 1}`));
    const ends = views.map(([name, column], place) => {
      const path = column.map((number, round) => `${round ? "L" : "M"}${x(round).toFixed(1)} ${y(number).toFixed(1)}`);
      picture.append(draw("path", { d: path.join(""), ...stroke(place) }));
      const last = column[column.length - 1];
      return { text: `${name} ${last.toFixed(2)} %`, at: y(last), place };
    });
    if (narrow) {
      const legend = ends.map((end) => make("li", {},
        draw("svg", { viewBox: "0 0 32 10", "aria-hidden": "true" }, draw("path", { d: "M0 5L32 5", ...stroke(end.place) })),
        end.text));
      return [picture, make("ul", { class: "legend" }, ...legend)];
    }
    ends.sort((one, other) => one.at - other.at);
    let floor = top + 4;
    for (const end of ends) {
      end.at = Math.max(end.at, floor);
      floor = end.at + 16;
      picture.append(draw("text", { class: "name", x: width - right + 8, y: end.at + 4 }, end.text));
    }
    return [picture];
  }

  function rounds(run) {
    const columns = [
      ...Object.entries(run.accuracies).map(([name, column]) => [`${name} %`, list(column, run.rounds)]),
      ...Object.entries(run.columns).map(([name, column]) => [name, list(column, run.rounds)]),
    ];
    const head = make("tr", {}, make("th", { scope: "col", class: "stick" }, "round"),
      ...columns.map(([name]) => make("th", { scope: "col", class: "number" }, name)));
    const body = make("tbody");
    for (let round = 0; round < run.rounds; round += 1)
      body.append(make("tr", {}, make("th", { scope: "row", class: "stick" }, String(round)),
        ...columns.map(([name, column]) => make("td", { class: "number" }, show(name, column[round])))));
    return make("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "rounds" },
      make("table", {}, make("thead", {}, head), body));
  }

  function present(run) {
    const method = data.methods[run.method];
    const setting = data.settings[run.setting];
    const line = make("p", {}, make("span", { class: "status" }, run.status), run.reason ? `: ${run.reason}` : "",
      ` · ${run.seconds} s${run.started ? ` · started ${run.started}` : ""} · key `, make("code", {}, run.key));
    detail.replaceChildren(line);
    for (const badge of run.badges) detail.append(make("span", { class: "badge" }, badge), " ");
    if (run.rounds) detail.append(...chart(run), fold("Rounds", rounds(run), true));
    detail.append(
      fold(`Settings of ${method.name}`, words(Object.entries(method.settings).length ? Object.entries(method.settings) : [["none", ""]])),
      fold(`Setting ${setting.hash}: data, models, training`, words(Object.entries(setting.parts))),
      fold("Provenance", words(Object.entries(data.origins[run.origin]))));
    for (const button of seeds.children) button.setAttribute("aria-pressed", String(button.value === run.key));
  }

  function open(row) {
    const own = data.runs.filter((run) => run.label === row.dataset.method && run.dataset === row.dataset.dataset
      && data.settings[run.setting].hash === row.dataset.setting);
    title.textContent = `${row.dataset.method} on ${row.dataset.dataset}`;
    seeds.replaceChildren(...own.map((run) => {
      const button = make("button", { type: "button", value: run.key },
        `seed ${run.seed}${run.status === "done" ? "" : ` (${run.status})`}`);
      button.addEventListener("click", () => present(run));
      return button;
    }));
    dialog.showModal();
    present(own[0]);  // after it is shown: the chart is drawn as wide as the dialog
    dialog.scrollTop = 0;
  }
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (button) open(button.closest("tr"));
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
