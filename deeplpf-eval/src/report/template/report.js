"use strict";
// Makes tables sortable, photographs searchable and sortable, and gives every photograph a
// before/after slider made from the pictures on the page. Without scripts the pictures stand side
// by side. Text from the page is only ever put back as text.

const LARGEST_STAGE = 620; // pixels of height: the whole stage stays on a laptop's screen
const NO_FILTERS = "none";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Tables ------------------------------------------------------------------------------------

// The number a cell begins with; names compare as text, cells without either come last.
function cellValue(row, column) {
  const { dataset, textContent } = row.cells[column];
  if ("value" in dataset) return Number(dataset.value);
  const text = textContent.trim().replace("−", "-");
  if (column === 0) return text;
  if (/^∞|^inf/.test(text)) return Infinity;
  if (/^-(∞|inf)/.test(text)) return -Infinity;
  return Number.parseFloat(text);
}

// Missing values stay at the end, whichever way the others go.
function compare(a, b, sign) {
  if (typeof a === "string") return sign * a.localeCompare(b, undefined, { numeric: true });
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return a === b ? 0 : sign * (a < b ? -1 : 1);
}

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = element("button", { type: "button", class: "sort" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const falls = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
      // Published rows have a body of their own and are never mixed with measured ones.
      for (const body of table.tBodies) {
        const rows = [...body.rows].map((row) => [cellValue(row, column), row]);
        rows.sort((a, b) => compare(a[0], b[0], falls ? -1 : 1));
        body.append(...rows.map(([, row]) => row));
      }
    });
  });
}

// Photographs -------------------------------------------------------------------------------

function chooser(title, labels, chosen, onChange) {
  const select = element("select");
  labels.forEach((label, index) => select.append(element("option", { value: index }, label)));
  select.value = chosen;
  select.addEventListener("change", () => onChange(Number(select.value)));
  return element("label", {}, title, select);
}

function buildSlider(photograph) {
  const figures = [...photograph.querySelectorAll(".pictures figure")];
  if (figures.length < 2) return;
  const labels = figures.map((figure) => figure.dataset.label);
  const images = figures.map((figure) => figure.querySelector("img"));
  const drawings = [...photograph.querySelectorAll("svg.filters")];
  const name = photograph.dataset.name;

  const before = element("img", { class: "before", alt: "" });
  const after = element("img", { class: "after", alt: "" });
  const left = element("span", { class: "tag left" });
  const right = element("span", { class: "tag right" });
  const range = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const edge = element("div", { class: "edge" });
  const stage = element("div", { class: "stage" }, after, before, ...drawings, left, right, range, edge);
  const { width, height } = images[0];
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `${(LARGEST_STAGE * width) / height}px`;

  // Input against the last method; against the target where that is all there is.
  const scored = figures.findLastIndex((figure) => "scored" in figure.dataset);
  const shown = { before: 0, after: scored > 0 ? scored : 1 };
  function show() {
    before.src = images[shown.before].src;
    after.src = images[shown.after].src;
    left.textContent = labels[shown.before];
    right.textContent = labels[shown.after];
    const between = `${labels[shown.before]} and ${labels[shown.after]}`;
    range.setAttribute("aria-label", `${name}: boundary between ${between}`);
    move();
  }
  function move() {
    stage.style.setProperty("--at", `${range.value}%`);
    const part = Math.round(range.value);
    range.setAttribute("aria-valuetext", `${part} % ${labels[shown.before]}`);
  }
  range.addEventListener("input", move);

  const choose = element("div", { class: "choose" });
  if (figures.length > 2) {
    choose.append(
      chooser("Left", labels, shown.before, (index) => { shown.before = index; show(); }),
      chooser("Right", labels, shown.after, (index) => { shown.after = index; show(); }),
    );
  }
  if (drawings.length > 0) {
    const names = [NO_FILTERS, ...drawings.map((drawing) => drawing.dataset.label)];
    choose.append(chooser("Filters", names, 0, (index) => {
      drawings.forEach((drawing, other) => drawing.toggleAttribute("hidden", other !== index - 1));
    }));
  }
  show();
  photograph.querySelector("h3").after(element("div", { class: "slider" }, stage, choose));
}

function buildSlidersWhenNear(photographs) {
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      buildSlider(target);
    }
  }, { rootMargin: "1200px" });
  for (const photograph of photographs) near.observe(photograph);
}

function makeSearchable(gallery, toolbar) {
  const { search, order, end } = toolbar.elements;
  const count = toolbar.querySelector("output");
  const photographs = [...gallery.children].map((node) => ({
    node,
    name: node.dataset.name,
    values: node.dataset.values.split(" ").map(Number),
  }));
  function update() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const { node, name } of photographs) {
      node.hidden = !name.toLowerCase().includes(wanted);
      if (!node.hidden) shown += 1;
    }
    const all = `${photographs.length} photograph${photographs.length === 1 ? "" : "s"}`;
    count.textContent = shown === photographs.length ? all : `${shown} of ${all}`;
  }
  function sort() {
    const metric = order.selectedIndex - 1;
    end.disabled = metric < 0;
    const higher = order.selectedOptions[0].dataset.better === "higher";
    const sign = higher === (end.selectedIndex === 0) ? -1 : 1;
    const byName = (a, b) => compare(a.name, b.name, 1);
    const byValue = (a, b) => compare(a.values[metric], b.values[metric], sign) || byName(a, b);
    photographs.sort(metric < 0 ? byName : byValue);
    gallery.append(...photographs.map(({ node }) => node));
  }
  search.addEventListener("input", update);
  order.addEventListener("change", sort);
  end.addEventListener("change", sort);
  toolbar.addEventListener("submit", (event) => event.preventDefault());
  end.disabled = true;
  toolbar.hidden = false;
}

document.querySelectorAll(".table table").forEach(makeSortable);
const gallery = document.querySelector(".gallery");
if (gallery) {
  makeSearchable(gallery, document.querySelector(".toolbar"));
  buildSlidersWhenNear(gallery.children);
}
