"use strict";
// A before/after slider for every photograph with two pictures or more, made from the pictures on
// the page. Without scripts the pictures stand side by side.

const LARGEST_STAGE = 620; // pixels of height: the whole stage stays on a laptop's screen

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function chooser(title, labels, chosen, onChange) {
  const select = element("select");
  labels.forEach((label, index) => select.append(element("option", { value: index }, label)));
  select.value = chosen;
  select.addEventListener("change", () => onChange(Number(select.value)));
  return element("label", {}, title, select);
}

function slider(photograph) {
  const figures = [...photograph.querySelectorAll(".pictures figure")];
  if (figures.length < 2) return;
  const labels = figures.map((figure) => figure.dataset.label);
  const images = figures.map((figure) => figure.querySelector("img"));
  const name = photograph.querySelector("h3").textContent;

  const before = element("img", { class: "before", alt: "" });
  const after = element("img", { class: "after", alt: "" });
  const left = element("span", { class: "tag left" });
  const right = element("span", { class: "tag right" });
  const range = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const edge = element("div", { class: "edge" });
  const stage = element("div", { class: "stage" }, after, before, left, right, range, edge);
  const { width, height } = images[0];
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `${(LARGEST_STAGE * width) / height}px`;

  // Input against the last method; against the target where that is all there is.
  const shown = { before: 0, after: Math.max(1, figures.length - 2) };
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
  show();
  photograph.querySelector("h3").after(element("div", { class: "slider" }, stage, choose));
}

document.querySelectorAll(".photograph").forEach(slider);
