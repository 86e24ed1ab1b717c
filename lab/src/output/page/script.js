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
  if (event.lines && sources.length) {
    const lines = make("p", "");
    lines.className = "lines";
    for (const line of event.lines) lines.append(action(line, () => reveal(line)));
    details.querySelector("h2").after(lines);
  }
  details.scrollTop = 0;
}

function action(text, act) {
  const button = make("button", text);
  button.addEventListener("click", act);
  return button;
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
  if (!row.classList.contains("led")) unmark();
  for (const part of [row, picture]) part?.classList.add("chosen");
  row.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", row.id);
  show(events[place]);
  mark(events[place].lines || []);
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
    const room = innerHeight - (getComputedStyle(details).position === "fixed" ? details.offsetHeight : 0);
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
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  if (["BUTTON", "SELECT"].includes(key.target.tagName)) return;
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  if (key.key in steps) choose(Math.max(0, chosen + steps[key.key]), true);
  else if (key.key === "Home") choose(0, true);
  else if (key.key === "End") choose(events.length - 1, true);
  else return;
  key.preventDefault();
});

// The source beside the diagram: which lines led to which calls.
const sources = JSON.parse(document.getElementById("sources")?.textContent || "[]");
const picker = document.querySelector("#source select");
const code = document.querySelector("#source ol");
const led = new Map(); // "main.c:24": the places of its calls in `events`
let chain = []; // the lines that led to what is chosen

events.forEach((event, place) => {
  if (event.id.endsWith("-end")) return;
  for (const line of new Set(event.lines)) led.set(line, [...(led.get(line) || []), place]);
});

const fileOf = (line) => line.slice(0, line.lastIndexOf(":"));

function countOf(line) {
  const count = led.get(line).length;
  return count === 1 ? "1 call" : count + " calls";
}

// How many of a file's lines led to a call: the more, the more it tells.
function worth(file) {
  return [...led.keys()].filter((line) => fileOf(line) === file).length;
}

function openFile(file) {
  const source = sources.find((source) => source.file === file);
  if (!source) return;
  picker.value = file;
  code.replaceChildren(...source.text.replace(/\n$/, "").split("\n").map((text, index) => {
    const line = file + ":" + (index + 1);
    const item = document.createElement("li");
    item.dataset.line = line;
    if (led.has(line)) {
      const begin = text.length - text.trimStart().length;
      const button = action(text.slice(begin) || " ", () => chooseLine(line));
      button.title = countOf(line);
      item.append(text.slice(0, begin), button);
    } else item.textContent = text || " ";
    return item;
  }));
}

// Marks the lines that led to what is chosen, in a file that has some of them.
function mark(lines, wanted) {
  if (!sources.length) return;
  chain = lines;
  const files = lines.map(fileOf).sort((one, other) => worth(other) - worth(one));
  const file = wanted ? fileOf(wanted) : files.includes(picker.value) ? picker.value : files[0];
  if (file && file !== picker.value) openFile(file);
  const marked = [];
  for (const item of code.children) {
    const here = chain.includes(item.dataset.line);
    item.classList.toggle("chosen", here);
    if (here) marked.push(item);
  }
  const item = marked.find((item) => item.dataset.line === wanted) || marked.at(-1);
  if (!item) return;
  if (code.scrollHeight > code.clientHeight) {
    code.scrollTop = item.offsetTop - code.clientHeight / 3;
  } else if (!document.querySelector(".picture").offsetHeight) {
    item.scrollIntoView({ block: "nearest" }); // a phone: the source is all there is
  }
}

// Shows a line in its file.
function reveal(line) {
  view("source");
  mark(chain, line);
  const item = [...code.children].find((item) => item.dataset.line === line);
  item?.querySelector("button")?.focus({ preventScroll: true });
}

function unmark() {
  for (const marked of document.querySelectorAll(".led")) marked.classList.remove("led");
}

// What a line did: all calls that it led to, in the diagram, in the list and by name.
function chooseLine(line) {
  const places = led.get(line);
  choose(places[0], true);
  unmark();
  for (const place of places) for (const part of parts(place)) part?.classList.add("led");
  mark([line], line);
  const calls = make("p", "");
  calls.className = "calls";
  for (const place of places) {
    const [, text] = events[place].facts.find(([name]) => name === "call");
    const host = events[place].title.split(":")[0];
    calls.append(action(host + ": " + text, () => choose(place, true)));
  }
  details.replaceChildren(make("h2", line + " led to " + countOf(line)), calls);
  details.scrollTop = 0;
}

function view(name) {
  document.body.classList.remove("show-list", "show-diagram", "show-source");
  document.body.classList.add("show-" + name);
  for (const button of document.querySelectorAll(".views button")) {
    button.setAttribute("aria-pressed", String(button.value === name));
  }
}

for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => {
    view(button.value);
    if (chosen >= 0) choose(chosen, true);
  });
}

if (sources.length) {
  const files = sources.map((source) => source.file);
  picker.append(...files.map((file) => new Option(file, file)));
  picker.addEventListener("change", () => {
    openFile(picker.value);
    for (const item of code.children) {
      item.classList.toggle("chosen", chain.includes(item.dataset.line));
    }
  });
  openFile(files.reduce((best, file) => (worth(file) > worth(best) ? file : best)));
}
// Where there is room, the source stands beside the diagram at once.
view(sources.length && innerWidth > 1000 ? "source" : "list");
