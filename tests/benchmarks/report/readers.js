// What a screen reader needs, of the rules that axe-core checks: names, labels, levels, heads of tables, stops.
() => {
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)].filter((node) => node.checkVisibility());
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) found.push(`two elements are ${id}`);
  for (const node of document.querySelectorAll("[aria-labelledby], label[for]"))
    if (!document.getElementById(node.getAttribute("aria-labelledby") ?? node.htmlFor)) found.push(`a label leads nowhere: ${node.outerHTML}`);
  for (const node of all("button, a, summary, select, input"))
    if (!(node.labels?.length || node.ariaLabel || node.textContent.trim())) found.push(`has no name: ${node.outerHTML}`);
  for (const node of all("img:not([alt]), svg:not([aria-hidden], [aria-label], svg svg), [role=region]:not([aria-label]):not([aria-labelledby])"))
    found.push(`cannot be read: ${node.outerHTML.slice(0, 80)}`);
  for (const node of all("[aria-hidden] :is(a, button, select, [tabindex])")) found.push(`is hidden and a stop: ${node.outerHTML}`);
  for (const node of all("th:not([scope])")) found.push(`heads nothing: ${node.outerHTML}`);
  for (const node of all(".scroll"))
    if (node.scrollWidth > node.clientWidth && node.tabIndex < 0 && !node.querySelector("button")) found.push(`cannot be scrolled by keyboard: ${node.ariaLabel}`);
  const places = all("[role=region], section[aria-labelledby], nav").map((node) => node.ariaLabel ?? document.getElementById(node.getAttribute("aria-labelledby")).textContent);
  for (const name of new Set(places)) if (places.filter((other) => other === name).length > 1) found.push(`two regions are called ${name}`);
  let level = 0;
  for (const node of all("main :is(h1, h2, h3, h4), h1")) {
    const own = Number(node.tagName[1]);
    if (own > level + 1) found.push(`a level is left out before ${node.textContent}`);
    level = own;
  }
  if (document.documentElement.lang !== "en" || all("main").length !== 1 || all("h1").length !== 1) found.push("the page's frame");
  return found;
}
