// Methods by data sets: the chosen measure, shaded within a column, or differences to the control on a scale of their own.
(() => {
  const { table: shown, runs, settings } = page.data;
  const table = document.getElementById("by-dataset");
  const meaning = document.getElementById("measure-meaning");
  const rows = shown.methods.map((method) => [...table.tBodies].flatMap((body) => [...body.rows]).find((row) => row.dataset.method === method));
  const ranked = shown.methods.length - shown.apart || shown.methods.length;

  page.versus = (column, method, control) => {  // method minus control on a data set: [mean, half width or null]
    if (method === control || !shown.differences) return null;
    const first = Math.min(method, control), pair = shown.differences[column][first][Math.max(method, control) - first - 1];
    return pair && [first === method ? pair[0] : -pair[0], pair[1]];
  };

  function heat(numbers, more) {  // 0 to 1; what lies further below the median than the best above it is 0
    const known = numbers.filter((number) => number !== null).map((number) => (more ? number : -number)).sort((a, b) => b - a);
    if (known.length < 2 || known[0] === known.at(-1)) return () => 0;
    const floor = Math.max(known.at(-1), known[0] - 2 * Math.max(known[0] - known[Math.floor(known.length / 2)], 1e-9));
    return (number) => Math.max(0, Math.min(1, ((more ? number : -number) - floor) / (known[0] - floor)));
  }
  function cell(method, column) {
    return rows[method].cells[column + 1];
  }
  function put(place, text, value) {
    place.dataset.value = value ?? "";
    place.firstElementChild.textContent = value === null ? "–" : text;
    place.querySelector(".span")?.remove();
    place.removeAttribute("class");
    place.removeAttribute("style");
    place.classList.add("number");
  }
  function measure(one) {
    meaning.textContent = one.meaning;
    shown.columns.forEach((_, column) => {
      const numbers = shown.values[one.name].map((row) => row[column]);
      const shade = heat(numbers.slice(0, ranked), one.more);
      const known = numbers.slice(0, ranked).filter((number) => number !== null);
      const best = one.more ? Math.max(...known) : Math.min(...known);
      numbers.forEach((number, method) => {
        const place = cell(method, column);
        put(place, number === null ? "" : page.show[one.unit](number), number);
        if (number === null || method >= ranked) return;
        place.style.setProperty("--heat", shade(number).toFixed(3));
        place.classList.toggle("best", number === best);
      });
    });
  }
  function differences() {
    const name = page.control(), control = shown.methods.indexOf(name);
    meaning.textContent = `Points, method minus ${name}, paired by seed. Bars: Student's 95 % intervals, each for itself and drawn on `
      + "the scale of its column. They say where to look; the tests are above.";
    shown.columns.forEach((_, column) => {
      const pairs = shown.methods.map((_, method) => page.versus(column, method, control));
      const inside = pairs.slice(0, ranked).filter(Boolean);
      const wide = inside.map((pair) => Math.abs(pair[0]) + (pair[1] ?? 0)).sort((a, b) => a - b);
      const reach = Math.max(0.1, wide[Math.floor(0.8 * wide.length)] ?? 0);  // a few that are far off end at the edge
      pairs.forEach((pair, method) => {
        const place = cell(method, column), at = (number) => `${Math.max(0, Math.min(100, 50 + (50 * number) / reach)).toFixed(1)}%`;
        put(place, pair && page.signed(pair[0]), method === control ? 0 : pair && pair[0]);
        if (method === control) place.firstElementChild.textContent = "0";
        if (!pair) return;
        const half = pair[1] ?? 0, sure = pair[1] !== null && Math.abs(pair[0]) > half;
        place.classList.add("versus", ...(sure ? [pair[0] > 0 ? "above" : "below"] : []));
        const bar = page.make("span", { class: "span", "aria-hidden": "true" });
        for (const [part, number] of [["low", pair[0] - half], ["mean", pair[0]], ["high", pair[0] + half]]) bar.style.setProperty(`--${part}`, at(number));
        place.append(bar);
        place.firstElementChild.title = pair[1] === null ? "" : `${page.signed(pair[0])} ± ${half.toFixed(2)}`;
      });
    });
  }
  function show() {
    const wanted = page.get("measure");
    if (wanted === "difference" && shown.differences) differences();
    else measure(shown.measures.find((one) => one.name === wanted) ?? shown.measures[0]);
    page.resort(table);
  }
  page.listen("measure", show);
  page.listen("control", () => { if (page.get("measure") === "difference") show(); });
  show();
  page.rove(table, "tbody button");
  page.settle();

  table.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (!button) return;
    const column = shown.columns[button.closest("td").cellIndex - 1];
    page.open(button.closest("tr").dataset.method, column.dataset, column.setting);
  });
  page.runsOf = (column) => runs.filter((run) => run.dataset === column.dataset && settings[run.setting].hash === column.setting);
})();
