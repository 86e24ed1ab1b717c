"use strict";
const events = JSON.parse(document.getElementById("events").textContent);
const list = document.getElementById("list");
const details = document.getElementById("details");
let chosen = -1; // its place in `events`

function make(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

// "0000  45 00 …  E.…", sixteen bytes a line; eight where there is little room.
function dump(hex) {
  const width = matchMedia("(max-width: 420px)").matches ? 8 : 16;
  const bytes = hex.match(/../g) || [];
  const lines = [];
  for (let at = 0; at < bytes.length; at += width) {
    const row = bytes.slice(at, at + width);
    const text = row.map((byte) => {
      const code = parseInt(byte, 16);
      return code > 31 && code < 127 ? String.fromCharCode(code) : ".";
    });
    const place = at.toString(16).padStart(4, "0");
    lines.push(place + "  " + row.join(" ").padEnd(width * 3) + " " + text.join(""));
  }
  return lines.join("\n");
}

function show(event) {
  details.replaceChildren(make("h2", event.title));
  if (event.note) details.append(make("p", event.note));
  const table = document.createElement("dl");
  for (const [name, value] of event.facts) table.append(make("dt", name), make("dd", value));
  details.append(table);
  if (event.hex) details.append(make("pre", dump(event.hex)));
  details.scrollTop = 0;
}

function parts(place) {
  const id = events[place].id;
  // A call that waited has two rows, "7" and "7-end", and one place in the picture.
  return [document.getElementById("l" + id), document.getElementById("e" + parseInt(id))];
}

function choose(place, follow) {
  if (place < 0 || place >= events.length) return;
  if (chosen >= 0) {
    for (const part of parts(chosen)) part?.classList.remove("chosen");
    parts(chosen)[0].setAttribute("aria-selected", "false");
  }
  chosen = place;
  const [row, picture] = parts(place);
  for (const part of [row, picture]) part?.classList.add("chosen");
  row.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", row.id);
  show(events[place]);
  if (list.scrollHeight > list.clientHeight) {
    const above = row.offsetTop - list.offsetTop;
    const below = above + row.offsetHeight - list.clientHeight;
    if (list.scrollTop > above) list.scrollTop = above;
    if (list.scrollTop < below) list.scrollTop = below;
  }
  if (!follow) return;
  for (const part of [picture, row]) {
    const box = part?.getBoundingClientRect();
    if (!box || !box.height) continue; // not in this view
    const room = innerHeight - (innerWidth <= 1340 ? details.offsetHeight : 0);
    if (box.top < 40) scrollBy(0, box.top - 80);
    if (box.bottom > room - 20) scrollBy(0, box.bottom - room + 80);
    break;
  }
}

function placeOf(target) {
  const element = target.closest?.(".event, #list li[id]");
  if (!element) return -1;
  return events.findIndex((event) => event.id === element.id.slice(1));
}

for (const side of [list, document.querySelector("figure")]) {
  side.addEventListener("click", (click) => choose(placeOf(click.target), false));
  side.addEventListener("pointerover", (over) => {
    if (over.pointerType === "mouse") choose(placeOf(over.target), false);
  });
}

addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey || key.target.tagName === "BUTTON") return;
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  if (key.key in steps) choose(Math.max(0, chosen + steps[key.key]), true);
  else if (key.key === "Home") choose(0, true);
  else if (key.key === "End") choose(events.length - 1, true);
  else return;
  key.preventDefault();
});

for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => {
    document.body.className = "show-" + button.value;
    for (const other of document.querySelectorAll(".views button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    if (chosen >= 0) choose(chosen, true);
  });
}
document.body.className = "show-list";
