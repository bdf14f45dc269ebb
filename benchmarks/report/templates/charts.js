// Curves by round and accuracy against cost on the chosen data set, drawn from the runs; methods can be switched off.
(() => {
  const { table: shown } = page.data;
  const { make, draw } = page;
  const LINES = 8;  // as many colours as there are
  const BANDS = 4;  // from the worst to the best seed, as long as they can be told apart
  const control = page.data.control;
  const order = [...(control ? [control] : []), ...shown.methods.filter((name) => name !== control)];
  const dashes = ["none", "7 3", "2 3", "8 3 2 3"];
  page.look = (method) => {
    const place = order.indexOf(method);
    return { class: `s${place % LINES}`, "stroke-dasharray": dashes[Math.floor(place / LINES) % dashes.length] };
  };
  page.column = () => shown.columns.find((column) => column.name === page.get("on")) ?? shown.columns[0];
  const switched = () => {
    const chosen = page.get("lines");
    return new Set(chosen === null ? order.slice(0, LINES) : chosen.split("|"));
  };

  // ---- which methods are on -----------------------------------------------------------------------------------------
  const chips = document.getElementById("curves-methods");
  for (const method of order) {
    const button = make("button", { type: "button", value: method },
      draw("svg", { viewBox: "0 0 28 10", "aria-hidden": "true" }, draw("path", { d: "M0 5L28 5", ...page.look(method) })), method);
    button.addEventListener("click", () => {
      const on = switched();
      if (!on.delete(method)) on.add(method);
      page.set("lines", order.filter((name) => on.has(name)).join("|") || "|");
    });
    chips.append(button);
  }
  page.rove(chips, "button");

  // ---- a frame with an axis of accuracies ------------------------------------------------------------------------------
  function frame(box, label, low, high, right) {
    const width = Math.max(Math.min(box.clientWidth || 900, 1400), 280), height = width < 560 ? 260 : 380;
    const top = 14, bottom = 34, left = 40;
    const y = (number) => top + ((high - number) * (height - top - bottom)) / (high - low);
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label });
    for (const number of page.ticks(low, high))
      picture.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: y(number), y2: y(number) }),
        draw("text", { x: left - 8, y: y(number) + 4, "text-anchor": "end" }, String(number)));
    return { picture, width, height, left, right: width - right, y, bottom: height - bottom };
  }
  function apart(ends, floor, gap = 15) {  // texts at the right, none over another
    ends.sort((one, other) => one.at - other.at);
    for (const end of ends) { end.at = Math.max(end.at, floor); floor = end.at + gap; }
    return ends;
  }

  // ---- accuracy by round ------------------------------------------------------------------------------------------------
  function courses() {
    const found = new Map();
    for (const run of page.runsOf(page.column())) {
      if (run.status !== "done" || !run.rounds) continue;
      const column = page.list(Object.values(run.accuracies)[0], run.rounds);
      if (column.includes(null)) continue;
      if (!found.has(run.label)) found.set(run.label, []);
      found.get(run.label).push(column);
    }
    return new Map([...found].map(([method, seeds]) => {
      const rounds = [...Array(Math.min(...seeds.map((seed) => seed.length))).keys()];
      const across = (take) => rounds.map((round) => take(seeds.map((seed) => seed[round])));
      return [method, { mean: across(page.mean), low: across((all) => Math.min(...all)), high: across((all) => Math.max(...all)) }];
    }));
  }
  function curves() {
    const box = document.getElementById("curves-chart"), all = courses(), on = switched();
    for (const button of chips.children) button.setAttribute("aria-pressed", String(on.has(button.value)));
    const front = order.filter((method) => on.has(method) && all.has(method));
    const scale = front.length ? front.map((method) => all.get(method)) : [...all.values()];
    if (!scale.length) return box.replaceChildren(make("p", {}, "No run is done here."));
    const last = scale.map((course) => course.mean.at(-1)), top = Math.max(...scale.flatMap((course) => course.mean));
    const span = Math.max(top - Math.min(...last), 2), start = Math.min(...scale.flatMap((course) => course.mean));
    const low = Math.max(Math.min(...last) - 0.5 * span, start - 0.05 * span, 0), high = Math.min(top + 0.05 * span, 100.5);
    const narrow = box.clientWidth < 560;
    const { picture, left, right, y, height, bottom } = frame(box, `Mean client accuracy by round on ${page.column().name}: `
      + front.map((method) => `${method} ${all.get(method).mean.at(-1).toFixed(2)} %`).join(", "), low, high, narrow ? 10 : 190);
    const length = Math.max(...[...all.values()].map((course) => course.mean.length));
    const x = (round) => left + (round * (right - left)) / Math.max(length - 1, 1);
    const points = (column) => column.map((number, round) => `${x(round).toFixed(1)} ${y(number).toFixed(1)}`);
    const sheet = draw("svg", { x: left, y: 0, width: right - left, height: bottom, viewBox: `${left} 0 ${right - left} ${bottom}` });
    for (const round of page.ticks(0, length - 1, 10).filter(Number.isInteger))
      picture.append(draw("text", { x: x(round), y: height - 16, "text-anchor": "middle" }, String(round)));
    picture.append(draw("text", { x: (left + right) / 2, y: height - 2, "text-anchor": "middle" }, "round"));
    for (const [method, course] of all)
      if (!on.has(method)) sheet.append(draw("path", { class: "behind", d: `M${points(course.mean).join("L")}` }));
    const ends = front.map((method) => {
      const course = all.get(method), look = page.look(method);
      if (front.length <= BANDS)
        sheet.append(draw("path", { class: `band ${look.class}`, d: `M${[...points(course.high), ...points(course.low).reverse()].join("L")}Z` }));
      sheet.append(draw("path", { ...look, d: `M${points(course.mean).join("L")}` }, draw("title", {}, method)));
      return { text: `${method} ${course.mean.at(-1).toFixed(2)}`, at: y(Math.max(course.mean.at(-1), low)), look };
    });
    picture.append(sheet);
    if (narrow) return box.replaceChildren(picture, make("ul", { class: "legend" }, ...ends.map((end) => make("li", {}, end.text))));
    for (const end of apart(ends, 14))
      picture.append(draw("path", { d: `M${right + 6} ${end.at}L${right + 22} ${end.at}`, ...end.look }),
        draw("text", { class: "name", x: right + 28, y: end.at + 4 }, end.text));
    picture.setAttribute("viewBox", `0 0 ${right + 190 * !narrow} ${Math.max(height, bottom, ...ends.map((end) => end.at + 8))}`);
    box.replaceChildren(picture);
  }

  // ---- accuracy against cost ----------------------------------------------------------------------------------------------
  function cost(name) {
    const box = document.getElementById("costs-charts"), column = shown.columns.indexOf(page.column()), on = switched();
    const one = shown.measures.find((measure) => measure.name === name);
    const points = shown.methods.map((method, row) => ({ method, on: on.has(method), spent: shown.values[name][row][column], accuracy: shown.values.accuracy[row][column] }))
      .filter((point) => point.spent !== null && point.accuracy !== null);
    const levels = points.filter((point) => shown.references.includes(point.method));
    points.splice(0, points.length, ...points.filter((point) => !levels.includes(point)));
    if (!points.length) return [];
    const ends = [...points, ...levels].map((point) => point.accuracy), spread = Math.max(Math.max(...ends) - Math.min(...ends), 2);
    const low = Math.max(Math.min(...ends) - 0.1 * spread, 0), high = Math.max(...ends) + 0.1 * spread;
    const half = { clientWidth: Math.min((box.clientWidth || 900) > 900 ? box.clientWidth / 2 - 12 : box.clientWidth || 900, 700) };
    const { picture, left, right, y, height, bottom } = frame(half, `Accuracy against ${name} on ${page.column().name}`, low, high, 20);
    const some = points.map((point) => point.spent).filter((spent) => spent > 0);
    const least = Math.min(...some), most = Math.max(...some), none = some.length < points.length ? 40 : 0;
    const wide = Math.max(Math.log(most / least), 0.5);
    const x = (spent) => (spent > 0 ? left + none + 20 + ((right - left - none - 60) * Math.log(spent / least)) / wide : left + 14);
    for (let power = Math.floor(Math.log10(least)); 10 ** power <= most; power += 1)
      for (const part of most > 100 * least ? [1] : most > 10 * least ? [1, 3] : [1, 2, 5]) {
        const at = part * 10 ** power;
        if (at < 0.95 * least || at > 1.05 * most) continue;
        picture.append(draw("line", { class: "axis", x1: x(at), x2: x(at), y1: 14, y2: bottom }),
          draw("text", { x: x(at), y: height - 16, "text-anchor": "middle" }, page.show[one.unit](at).replace(".0 ", " ")));
      }
    for (const level of levels)
      picture.append(draw("line", { class: "level", x1: left, x2: right, y1: y(level.accuracy), y2: y(level.accuracy) }),
        draw("text", { class: "name", x: right, y: y(level.accuracy) - 4, "text-anchor": "end" }, level.method));
    if (none) picture.append(draw("text", { x: left + 14, y: height - 16, "text-anchor": "middle" }, "none"));
    picture.append(draw("text", { x: (left + right) / 2, y: height - 2, "text-anchor": "middle" }, `${name} of a run`));
    const sorted = [...points].sort((a, b) => a.spent - b.spent || b.accuracy - a.accuracy);
    let best = -1, path = "";
    for (const point of sorted) {
      if (point.accuracy <= best) continue;
      path += path ? `H${x(point.spent).toFixed(1)}V${y(point.accuracy).toFixed(1)}` : `M${x(point.spent).toFixed(1)} ${y(point.accuracy).toFixed(1)}`;
      best = point.accuracy;
      point.front = true;
    }
    picture.append(draw("path", { class: "front", d: `${path}H${right}` }));
    const taken = [];
    for (const point of [...points].sort((a, b) => a.on - b.on || b.accuracy - a.accuracy)) {
      const at = { x: x(point.spent), y: y(point.accuracy) };
      picture.append(draw("circle", { cx: at.x, cy: at.y, r: point.on ? 5.5 : 3.5, class: point.on ? `dot ${page.look(point.method).class}` : "dot behind" },
        draw("title", {}, `${point.method}: ${point.accuracy.toFixed(2)} %, ${page.show[one.unit](point.spent)}`)));
      if (!point.on && !point.front) continue;
      const size = 6.6 * point.method.length, after = at.x + size + 12 < right + 16;
      const place = (step) => ({ x: after ? at.x + 9 : at.x - 9 - size, y: at.y + 4 + step, size });
      const clear = (label) => !taken.some((other) => Math.abs(other.y - label.y) < 12 && label.x < other.x + other.size && other.x < label.x + size);
      const label = [0, -13, 13, -26, 26].map(place).find(clear);
      if (!label) continue;
      taken.push(label);
      picture.append(draw("text", { class: "name", x: label.x, y: label.y }, point.method));
    }
    return [make("figure", {}, picture)];
  }
  function costs() {
    const names = ["bytes", "time"].filter((name) => name in shown.values);
    document.getElementById("costs-charts").replaceChildren(...names.flatMap(cost));
  }
  function all() { curves(); costs(); }
  page.listen("on", all);
  page.listen("lines", all);
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(all, 150); });
  all();
})();
