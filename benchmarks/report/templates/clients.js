// Deciles of single clients' accuracies, and their clusters, on the chosen data set.
(() => {
  const { make, draw } = page;
  const here = () => page.data.clients.find((block) => block.dataset === page.column().dataset && block.setting === page.column().setting);
  const MOST_ROUNDS = 25;

  function deciles() {
    const box = document.getElementById("clients-table"), found = here()?.deciles ?? {};
    const rows = Object.entries(found).sort((one, other) => other[1].mean - one[1].mean || one[0].localeCompare(other[0]));
    if (!rows.length) return box.replaceChildren(make("p", {}, "No run is done here."));
    const low = Math.floor(Math.min(...rows.map(([, row]) => row.values[0])) / 10) * 10;
    const at = (number) => `${((100 * (number - low)) / (100 - low)).toFixed(1)}%`;
    const heads = [["method", "stick"], ["from the worst client to the best", "plot"], ["worst", "number"], ["tenth", "number"], ["median", "number"], ["best", "number"], ["clients", "number"]];
    const head = make("tr", {}, ...heads.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)));
    head.cells[1].replaceChildren(make("span", { class: "hidden-text" }, "drawn"), make("span", { class: "scale", "aria-hidden": "true" },
      ...page.ticks(low, 100, 6).map((number) => make("span", { style: `left:${at(number)}` }, `${number}`))));
    const body = rows.map(([method, row]) => {
      const bar = make("span", { class: "deciles", "aria-hidden": "true" });
      const part = (from, to, kind) => bar.append(make("i", { class: kind, style: `left:${at(row.values[from])};right:calc(100% - ${at(row.values[to])})` }));
      part(0, 10, "range");
      for (const inner of [1, 2, 3, 4]) part(inner, 10 - inner, "box");
      bar.append(make("i", { class: "median", style: `left:${at(row.values[5])}` }));
      const numbers = [row.values[0], row.values[1], row.values[5], row.values[10]].map((number) => make("td", { class: "number" }, number.toFixed(1)));
      return make("tr", {}, make("th", { scope: "row", class: "stick" }, method), make("td", { class: "plot" }, bar), ...numbers,
        make("td", { class: "number" }, String(row.clients)));
    });
    box.replaceChildren(make("div", { class: "scroll", role: "region", "aria-label": "Deciles of clients" },
      make("table", { class: "forest" }, make("thead", {}, head), make("tbody", {}, ...body))),
    make("p", { class: "caption" }, "Boxes: between deciles, the darkest around the median. The tenth is the first decile: a tenth of the clients is worse."));
  }

  function panel(method, found) {
    const every = Math.ceil(found.rounds.length / MOST_ROUNDS);
    const rounds = found.rounds.map((line, round) => [round, line]).filter(([round]) => round % every === 0 || round === found.rounds.length - 1);
    const count = found.groups.length, tall = count <= 40 ? 13 : Math.max(3, 520 / count), wide = rounds.length > 12 ? 14 : 20, left = 4;
    const breaks = found.groups.map((group, client) => client > 0 && group !== found.groups[client - 1]);
    const y = (client) => 4 + client * tall + 4 * breaks.slice(0, client + 1).filter(Boolean).length;
    const bottom = y(count - 1) + tall, [last, ...others] = found.agreement;
    const said = last === null || last === undefined ? "no groups to agree with" : `agreement with true groups ${last.toFixed(2)}${others.length ? ` (other seeds ${others.map((one) => one?.toFixed(2) ?? "none").join(", ")})` : ""}`;
    const picture = draw("svg", { viewBox: `0 0 ${left + rounds.length * wide + 4} ${bottom + 18}`, width: left + rounds.length * wide + 4, class: "clusters", role: "img",
      "aria-label": `${method}: clusters of ${count} clients over ${found.rounds.length} rounds, ${said}` });
    rounds.forEach(([round, line], at) => {
      line.forEach((cluster, client) => {
        const box = { x: left + at * wide, y: y(client), width: wide - 1, height: tall - (tall > 6 ? 1 : 0) };
        picture.append(draw("rect", { ...box, class: cluster < 0 ? "nobody" : `s${cluster % 8}` }));
        if (tall >= 11 && cluster >= 0) picture.append(draw("text", { x: box.x + box.width / 2, y: box.y + 9.5, "text-anchor": "middle" }, String(cluster)));
      });
      if (at === 0 || at === rounds.length - 1) picture.append(draw("text", { x: left + (at + 0.5) * wide, y: bottom + 14, "text-anchor": "middle" }, String(round)));
    });
    return make("figure", {}, make("figcaption", {}, make("strong", {}, method), ` seed ${found.seed}, ${said}`), picture);
  }
  function clusters() {
    const box = document.getElementById("clusters-charts");
    if (!box) return;
    const found = Object.entries(here()?.clusters ?? {});
    box.replaceChildren(...(found.length ? found.map(([method, one]) => panel(method, one)) : [make("p", {}, "No method formed clusters here.")]));
  }
  function all() { deciles(); clusters(); page.settle(); }
  page.listen("on", all);
  all();
})();
