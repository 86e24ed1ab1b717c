const lines = JSON.parse(document.getElementById("lines").textContent);
const list = document.getElementById("list");
const details = document.getElementById("details");
const behind = document.getElementById("behind");
const only = document.getElementById("only");
const rows = [...list.querySelectorAll("[id]")]; // beside `lines`
let chosen = -1;

function isOff(place) {
  return only.getAttribute("aria-pressed") === "true" && rows[place].classList.contains("alike");
}

// A side that lacks the event says so.
function side(name, event) {
  const column = document.createElement("div");
  column.append(...(event ? describe(event) : [make("p", "only in " + (name === "A" ? "B" : "A"))]));
  column.querySelector("h2")?.prepend(name + ", ");
  return column;
}

function choose(place, follow) {
  if (place < 0 || place >= lines.length) return;
  rows[chosen]?.classList.remove("chosen");
  rows[chosen]?.setAttribute("aria-selected", "false");
  chosen = place;
  const row = rows[place];
  row.classList.add("chosen");
  row.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", row.id);
  behind.replaceChildren(side("A", lines[place][0]), side("B", lines[place][1]));
  behind.scrollTop = 0;
  tell();
  if (!follow) return;
  const box = row.getBoundingClientRect();
  const top = document.querySelector(".heads").getBoundingClientRect().bottom + 20;
  const bottom = details.getBoundingClientRect().top - 20;
  if (box.top < top) scrollBy(0, box.top - top);
  else if (box.bottom > bottom) scrollBy(0, box.bottom - bottom);
}

// The next one that is shown, `by` 1 or -1; from nowhere the first.
function step(by) {
  let place = chosen < 0 ? 0 : chosen + by;
  while (rows[place] && isOff(place)) place += by;
  choose(place, true);
}

function tell() {
  const shown = rows.map((_, place) => place).filter((place) => !isOff(place));
  const here = shown.indexOf(chosen);
  document.getElementById("place").textContent =
    here < 0 ? shown.length + " shown" : here + 1 + " of " + shown.length;
  document.getElementById("previous").disabled = chosen < 0 || !shown.some((place) => place < chosen);
  document.getElementById("next").disabled = !shown.some((place) => place > chosen);
}

function sift(wanted) {
  only.setAttribute("aria-pressed", String(wanted));
  list.classList.toggle("apart", wanted);
  if (chosen >= 0 && !isOff(chosen)) choose(chosen, true);
  tell();
}

document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
only.addEventListener("click", () => sift(only.getAttribute("aria-pressed") !== "true"));

function placeOf(target) {
  return rows.indexOf(target.closest?.("#list li[id]"));
}
// A finger covers nothing that the details then cover.
list.addEventListener("click", (click) => choose(placeOf(click.target), click.pointerType !== "mouse"));
onPoint(list, (target) => {
  const place = placeOf(target);
  if (place !== chosen) choose(place, false);
});

addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  const shown = rows.map((_, place) => place).filter((place) => !isOff(place));
  if (key.key in steps) step(steps[key.key]);
  else if (key.key === "Home") choose(shown[0] ?? -1, true);
  else if (key.key === "End") choose(shown.at(-1) ?? -1, true);
  else return;
  key.preventDefault();
});

sift(only.getAttribute("aria-pressed") === "true");
