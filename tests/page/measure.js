// Measures each framed page as it is drawn, folded and unfolded, and leaves the faults as JSON.
const SLACK_PX = 1;

const box = (element) => element.getBoundingClientRect();
const name = (element) => `${element.tagName} ${element.getAttribute("class") || ""} ${element.textContent.trim().slice(0, 40)}`;
const overlap = (one, other) =>
  Math.min(one.right, other.right) - Math.max(one.left, other.left) > SLACK_PX &&
  Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > SLACK_PX;
const inside = (inner, outer) =>
  inner.left >= outer.left - SLACK_PX && inner.right <= outer.right + SLACK_PX &&
  inner.top >= outer.top - SLACK_PX && inner.bottom <= outer.bottom + SLACK_PX;
const shown = (element) => box(element).width > 0 && box(element).height > 0;

function overlapping(elements) {
  const drawn = elements.filter(shown);
  return drawn.flatMap((one, at) =>
    drawn.slice(at + 1).filter((other) => overlap(box(one), box(other))).map((other) => `${name(one)} over ${name(other)}`));
}

function faults(page) {
  const all = (selector, within = page) => [...within.querySelectorAll(selector)];
  const root = page.documentElement;
  const found = [];
  if (root.scrollWidth > root.clientWidth) found.push(`the page scrolls sideways: ${root.scrollWidth} > ${root.clientWidth}`);
  for (const each of all("main *").filter(shown)) {
    if (!each.closest(".fault pre, .plain, svg") && box(each).right > root.clientWidth + SLACK_PX) found.push(`out of the page: ${name(each)}`);
    const style = page.defaultView.getComputedStyle(each);
    const scrolls = ["auto", "scroll"].includes(style.overflowX) || style.display.startsWith("inline");
    if (!each.closest("svg") && !scrolls && each.scrollWidth > each.clientWidth + SLACK_PX) found.push(`cut off: ${name(each)}`);
  }
  for (const svg of all("svg").filter(shown)) {
    for (const each of all("text, rect", svg)) if (!inside(box(each), box(svg))) found.push(`out of its drawing: ${name(each)}`);
    found.push(...overlapping(all("text", svg)));
  }
  for (const lane of all(".lane")) found.push(...overlapping([...lane.children]));
  for (const row of all("tr, .overview li, .facts")) found.push(...overlapping([...row.children]));
  found.push(...overlapping([...page.querySelector("main").children]));
  for (const card of all(".card")) found.push(...overlapping([...card.children]));
  return found;
}

function measured(frame) {
  const page = frame.contentDocument;
  const folded = faults(page);
  for (const each of page.querySelectorAll("details")) each.open = true;
  return {
    name: frame.dataset.name,
    width: page.documentElement.clientWidth,
    loaded: frame.contentWindow.performance.getEntriesByType("resource").map((each) => each.name),
    paper: page.defaultView.getComputedStyle(page.body).backgroundColor,
    texts: page.querySelectorAll("svg text").length,
    folded,
    unfolded: faults(page),
  };
}

window.addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(measured);
  document.body.textContent = "";
  document.body.dataset.measured = JSON.stringify(found);
});
