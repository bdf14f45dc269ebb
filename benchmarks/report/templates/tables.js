// Tables: sorting, filtering the lines of runs, copying as CSV, Markdown or LaTeX.
(() => {
  // ---- sorting: the better end first, names rise first, nothing stays at the end ------------------------------------
  const value = (row, column) => row.cells[column].dataset.value ?? "";
  function order(table, column, sign) {
    const headings = [...table.tHead.rows[0].cells], heading = headings[column];
    const numeric = heading.classList.contains("number");
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const sorted = [...body.rows].sort((one, other) => {
        const a = value(one, column), b = value(other, column);
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...sorted);
    }
  }
  page.resort = (table) => {
    const [column, sign] = (page.get(`sort-${table.id}`) ?? "").split(",").map(Number);
    if (sign && table.tHead.rows[0].cells[column]?.querySelector("button")) order(table, column, sign);
  };
  for (const table of document.querySelectorAll(".sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = heading.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const before = heading.getAttribute("aria-sort");
        const rises = !heading.classList.contains("number") || heading.classList.contains("up");
        const sign = before === null ? (rises ? 1 : -1) : before === "ascending" ? -1 : 1;
        order(table, column, sign);
        page.set(`sort-${table.id}`, `${column},${sign}`);
      });
    });
    page.resort(table);
    page.rove(table.tHead, "button");
  }

  // ---- filtering ----------------------------------------------------------------------------------------------------
  const board = document.getElementById("board");
  const form = document.querySelector(".filters");
  const filters = [...form.querySelectorAll("[data-filter]")];
  const settle = page.rove(board.tBodies[0], "button");
  function fits(row, name, wanted) {
    if (wanted === "") return true;
    if (name === "method") return row.dataset.method.toLowerCase().includes(wanted.toLowerCase());
    if (name === "view" && wanted === "own") return "own" in row.dataset;
    return row.dataset[name] === wanted;
  }
  function filter() {
    let shown = 0;
    const rows = [...board.tBodies[0].rows];
    for (const row of rows) {
      row.hidden = !filters.every((field) => fits(row, field.dataset.filter, field.value.trim()));
      shown += !row.hidden;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} lines`;
    settle();
  }
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(() => {
    for (const field of filters) page.set(field.dataset.state, null);
    filter();
  }));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // ---- copying: what is seen, in the order in which it is seen ------------------------------------------------------
  const text = (cell) => {
    if (cell.classList.contains("plot")) return null;
    const badges = [...cell.querySelectorAll(".badge")].map((badge) => badge.textContent.trim());
    const copy = cell.cloneNode(true);
    for (const gone of copy.querySelectorAll(".badge, .span, .hidden-text")) gone.remove();
    const words = copy.textContent.replace(/\s+/g, " ").trim();
    return badges.length ? `${words} (${badges.join("; ")})` : words;
  };
  const grid = (table) => [...table.rows].filter((row) => !row.hidden && !row.classList.contains("family"))
    .map((row) => [...row.cells].map(text).filter((word) => word !== null));
  const tex = (word) => word.replace(/[\s\S]/gu, (letter) => page.data.latex[letter] ?? letter).replaceAll("–", "--").replaceAll("−", "$-$");
  const quoted = (word) => (/[",\n]/.test(word) ? `"${word.replaceAll('"', '""')}"` : word);
  const bars = (row) => `| ${row.map((word) => word.replaceAll("\\", "\\\\").replaceAll("|", "\\|")).join(" | ")} |`;
  const forms = {
    CSV: ([...rows]) => rows.map((row) => row.map(quoted).join(",")).join("\n"),
    Markdown: ([head, ...rows]) => [bars(head), `|${head.map((_, at) => (at ? "---:" : "---")).join("|")}|`, ...rows.map(bars)].join("\n"),
    LaTeX: ([head, ...rows], title) => ["% needs \\usepackage{booktabs}", "\\begin{table}", "\\centering", `\\caption{${tex(title)}}`,
      `\\begin{tabular}{@{}l${"r".repeat(head.length - 1)}@{}}`, "\\toprule", `${head.map(tex).join(" & ")} \\\\`, "\\midrule",
      ...rows.map((row) => `${row.map(tex).join(" & ")} \\\\`), "\\bottomrule", "\\end{tabular}", "\\end{table}"].join("\n"),
  };
  async function put(content) {
    try {
      await navigator.clipboard.writeText(content);
    } catch {  // a browser that keeps its clipboard from pages of files
      const field = page.make("textarea");
      field.value = content;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  }
  for (const table of document.querySelectorAll("table[data-copy]")) {
    const menu = page.make("details", { class: "menu", name: "copy" }, page.make("summary", {}, "Copy"));
    const choices = page.make("div", { role: "group", "aria-label": `Copy ${table.dataset.copy} as` });
    for (const [name, write] of Object.entries(forms)) {
      const button = page.make("button", { type: "button" }, name);
      button.addEventListener("click", async () => {
        const rows = grid(table);
        await put(`${write(rows, table.dataset.copy)}\n`);
        menu.open = false;
        menu.firstChild.focus();
        page.tell(`Copied ${rows.length - 1} rows as ${name}`);
      });
      choices.append(button);
    }
    menu.append(choices);
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && menu.open) { menu.open = false; menu.firstChild.focus(); }
    });
    table.parentElement.after(menu);
  }
})();
