// WCAG 2.1, 1.4.3: 4.5 to 1, or 3 to 1 for large text, of every element that has text of its own.
() => {
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {  // what shines through is mixed with what is behind it
    if (!node) return [255, 255, 255];
    const [r, g, b, a = 1] = numbers(getComputedStyle(node).backgroundColor);
    if (a === 1) return [r, g, b];
    const behind = ground(node.parentElement);
    return [r, g, b].map((value, at) => a * value + (1 - a) * behind[at]);
  };
  const poor = [];
  let seen = 0;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const box = node.getBoundingClientRect();
    if (!own || box.width < 2 || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = node.closest("svg") ? style.fill : style.color;
    const [one, two] = [light(numbers(ink)), light(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    seen += 1;
    if (ratio < (large ? 3 : 4.5)) poor.push([node.tagName, node.textContent.trim().slice(0, 30), ratio]);
  }
  return { seen, poor };
}
