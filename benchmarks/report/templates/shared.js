"use strict";
// What the page's scripts share: data, state in the address, elements, numbers as text.
const page = {};
(() => {
  page.data = JSON.parse(document.getElementById("data").textContent);
  document.documentElement.dataset.script = "on";

  // ---- state: what is chosen and sorted stands behind # in the address, so that a link shows the same -----------
  const plain = !location.hash.includes("=");
  const state = new URLSearchParams(plain ? "" : location.hash.slice(1));
  const listeners = {};
  page.get = (name) => state.get(name);
  page.set = (name, value) => {
    if (value === null) state.delete(name);
    else state.set(name, value);
    history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search);
    for (const listener of listeners[name] ?? []) listener();
  };
  page.listen = (name, listener) => (listeners[name] ??= []).push(listener);
  addEventListener("hashchange", () => location.reload());
  for (const field of document.querySelectorAll("[data-state]")) {
    const name = field.dataset.state, first = field.value;
    const take = () => {
      const wanted = page.get(name) ?? first;
      if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === wanted)) field.value = wanted;
    };
    take();
    page.listen(name, take);
    field.addEventListener("input", () => page.set(name, field.value === first ? null : field.value));
  }
  for (const link of document.querySelectorAll("nav a, .skip"))
    link.addEventListener("click", (event) => {
      event.preventDefault();  // the browser would put its own # in the place of ours
      const section = document.querySelector(link.getAttribute("href"));
      section.scrollIntoView();
      section.tabIndex = -1;
      section.focus({ preventScroll: true });
    });

  // ---- elements ---------------------------------------------------------------------------------------------------
  page.make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, text] of Object.entries(attributes)) node.setAttribute(name, text);
    node.append(...children);
    return node;
  };
  page.draw = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, text] of Object.entries(attributes)) node.setAttribute(name, text);
    node.append(...children);
    return node;
  };
  page.tell = (text) => { document.getElementById("told").textContent = text; };

  // ---- numbers ----------------------------------------------------------------------------------------------------
  page.list = (column, length) => (Array.isArray(column) ? column : Array(length).fill(column));
  page.mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  page.bytes = (number) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let place = 0;
    while (number >= 999.5 && place < units.length - 1) { number /= 1000; place += 1; }
    return `${place ? number.toFixed(1) : Math.round(number)} ${units[place]}`;
  };
  page.seconds = (number) => {
    if (number < 120) return `${number.toFixed(number < 10 ? 1 : 0)} s`;
    return number < 7200 ? `${Math.round(number / 60)} min` : `${(number / 3600).toFixed(1)} h`;
  };
  page.signed = (number) => (number < 0 ? "" : "+") + number.toFixed(2);
  page.show = { bytes: page.bytes, seconds: page.seconds, percent: (number) => number.toFixed(2), points: page.signed };
  page.ticks = (low, high, most = 5) => {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].find((size) => (high - low) / size <= most) ?? 200;
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + 1e-9; at += 1) found.push(Number((at * step).toFixed(6)));
    return found;
  };

  // ---- one stop for the Tab key; arrows move within ---------------------------------------------------------------
  page.rove = (box, selector) => {
    const all = () => [...box.querySelectorAll(selector)].filter((node) => node.checkVisibility());
    const settle = (current) => {
      for (const node of box.querySelectorAll(selector)) node.tabIndex = -1;
      const stop = current ?? all()[0];
      if (stop) stop.tabIndex = 0;
    };
    const near = (node, key) => {
      const nodes = all(), at = nodes.indexOf(node), row = node.closest("tr");
      if (key === "Home") return nodes[0];
      if (key === "End") return nodes[nodes.length - 1];
      const vertical = key === "ArrowUp" || key === "ArrowDown", step = key === "ArrowUp" || key === "ArrowLeft" ? -1 : 1;
      if (!row || !vertical) return nodes[at + step];
      const column = node.closest("td, th").cellIndex;
      return nodes.filter((other) => other.closest("td, th").cellIndex === column
        && other.closest("tr") !== row && (step < 0) === (nodes.indexOf(other) < at)).at(step < 0 ? -1 : 0);
    };
    box.addEventListener("keydown", (event) => {
      if (!["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      const node = event.target.closest(selector), next = node && near(node, event.key);
      if (!node) return;
      event.preventDefault();
      if (next) { settle(next); next.focus(); }
    });
    box.addEventListener("focusin", (event) => { if (event.target.matches(selector)) settle(event.target); });
    settle();
    return settle;
  };

  // ---- regions that scroll are stops, others are none; print shows all that is folded -------------------------------
  const scrolls = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const more = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (more && !box.querySelector("button")) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  page.settle = scrolls;
  addEventListener("resize", scrolls);
  addEventListener("load", scrolls);
  document.addEventListener("toggle", scrolls, true);
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("main details:not([open], .menu)")];
    for (const node of folded) node.open = true;
  });
  addEventListener("afterprint", () => { for (const node of folded) node.open = false; });
})();
