// The runs of a method on a data set, in a dialog: a curve, a row per round, all settings, where they were made.
(() => {
  const { data, make, draw } = page;
  const dialog = document.getElementById("run");
  const title = document.getElementById("run-title");
  const seeds = document.getElementById("seeds");
  const detail = document.getElementById("detail");

  function show(name, number) {
    if (number === null || number === undefined) return "";
    if (name.startsWith("bytes")) return page.bytes(number);
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
  function chart(run) {
    const width = Math.max(detail.clientWidth, 280), narrow = width < 560, height = narrow ? 200 : 260;
    const left = 36, right = narrow ? 8 : 170, top = 12, bottom = 28;
    const views = Object.entries(run.accuracies).map(([name, column]) => [name, page.list(column, run.rounds)]);
    const numbers = views.flatMap(([, column]) => column).filter((number) => number !== null);
    const low = Math.min(...numbers), high = Math.max(Math.max(...numbers), low + 1);
    const x = (round) => left + (round * (width - left - right)) / Math.max(run.rounds - 1, 1);
    const y = (number) => top + ((high - number) * (height - top - bottom)) / (high - low);
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img",
      "aria-label": `mean client accuracy per round: ${views.map(([name]) => name).join(", ")}` });
    for (const number of page.ticks(low, high))
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
      ...Object.entries(run.accuracies).map(([name, column]) => [`${name} %`, page.list(column, run.rounds)]),
      ...Object.entries(run.columns).map(([name, column]) => [name, page.list(column, run.rounds)]),
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

  page.open = (method, dataset, setting) => {
    const own = data.runs.filter((run) => run.label === method && run.dataset === dataset && data.settings[run.setting].hash === setting);
    if (!own.length) return page.tell(`${method} has no run on ${dataset}`);
    title.textContent = `${method} on ${dataset}`;
    seeds.replaceChildren(...own.map((run) => {
      const button = make("button", { type: "button", value: run.key },
        `seed ${run.seed}${run.status === "done" ? "" : ` (${run.status})`}`);
      button.addEventListener("click", () => present(run));
      return button;
    }));
    dialog.showModal();
    present(own[0]);  // after it is shown: the chart is drawn as wide as the dialog
    dialog.scrollTop = 0;
  };
  document.getElementById("board").addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (!button) return;
    const { method, dataset, setting } = button.closest("tr").dataset;
    page.open(method, dataset, setting);
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
