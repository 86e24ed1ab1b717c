const events = JSON.parse(document.getElementById("events").textContent);
const list = document.getElementById("list");
const details = document.getElementById("details");
const behind = document.getElementById("behind");
const off = events.map(() => false); // what the filter hides
let chosen = -1; // its place in `events`

function show(event) {
  behind.replaceChildren(...describe(event));
  if (event.lines && sources.length) {
    const lines = make("p", "");
    lines.className = "lines";
    for (const line of event.lines) lines.append(action(line, () => reveal(line)));
    behind.querySelector("h2").after(lines);
  }
  behind.scrollTop = 0;
}

function parts(place) {
  const id = events[place].id;
  // A call that waited has two rows, "7" and "7-end", and one place in each diagram.
  const places = ["l" + id, "e" + parseInt(id), "t" + parseInt(id)];
  return places.map((name) => document.getElementById(name));
}

function choose(place, follow) {
  if (place < 0 || place >= events.length) return;
  if (chosen >= 0) {
    for (const part of parts(chosen)) part?.classList.remove("chosen");
    parts(chosen)[0].setAttribute("aria-selected", "false");
  }
  chosen = place;
  const [row, ...pictures] = parts(place);
  if (!row.classList.contains("led")) unmark();
  for (const part of [row, ...pictures]) part?.classList.add("chosen");
  row.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", row.id);
  show(events[place]);
  mark(events[place].lines || []);
  markChunks();
  point(row);
  tell();
  if (list.scrollHeight > list.clientHeight) {
    const above = row.offsetTop - list.offsetTop;
    const below = above + row.offsetHeight - list.clientHeight;
    if (list.scrollTop > above) list.scrollTop = above;
    if (list.scrollTop < below) list.scrollTop = below;
  }
  if (!follow) return;
  for (const part of [...pictures, row, stream.querySelector(".chosen")]) {
    const box = part?.getBoundingClientRect();
    if (!box || !box.height) continue; // not in this view
    const room = innerHeight - (getComputedStyle(details).position === "fixed" ? details.offsetHeight : 0);
    if (box.top < 40) scrollBy(0, box.top - 80);
    // A long one is seen from its begin.
    else if (box.bottom > room - 20) scrollBy(0, Math.min(box.bottom - room + 80, box.top - 80));
    sideways(part);
    break;
  }
}

// A diagram that is wider than the screen goes to what is chosen.
function sideways(part) {
  const figure = part.closest("figure");
  if (!figure || figure.scrollWidth <= figure.clientWidth) return;
  const [box, frame] = [part.getBoundingClientRect(), figure.getBoundingClientRect()];
  if (box.left < frame.left) figure.scrollLeft += box.left - frame.left - 20;
  else if (box.right > frame.right) {
    figure.scrollLeft += Math.min(box.right - frame.right + 20, box.left - frame.left - 20);
  }
}

// The next one that is not hidden, `by` 1 or -1; from nowhere the first.
function step(by) {
  let place = chosen < 0 ? 0 : chosen + by;
  while (off[place]) place += by || 1;
  choose(place, true);
}

function end(last) {
  choose(last ? off.lastIndexOf(false) : off.indexOf(false), true);
}

// "3 of 80", and whether there is one before and one after it.
function tell() {
  const shown = events.map((_, place) => place).filter((place) => !off[place]);
  const here = shown.indexOf(chosen);
  document.getElementById("place").textContent =
    here < 0 ? shown.length + " shown" : here + 1 + " of " + shown.length;
  document.getElementById("previous").disabled = chosen < 0 || !shown.some((place) => place < chosen);
  document.getElementById("next").disabled = !shown.some((place) => place > chosen);
}

document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));

function placeOf(target) {
  const element = target.closest?.(".event, #list li[id]");
  if (!element) return -1;
  return events.findIndex((event) => event.id === element.id.slice(1));
}

for (const side of [list, document.querySelector("figure")]) {
  // A finger covers nothing that the details then cover.
  side.addEventListener("click", (click) => choose(placeOf(click.target), click.pointerType !== "mouse"));
  onPoint(side, (target) => {
    const place = placeOf(target);
    if (place !== chosen) choose(place, false);
  });
}

addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  if (key.target.closest?.("select, input, summary, #source, #stream")) return;
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  if (key.key in steps) step(steps[key.key]);
  else if (key.key === "Home") end(false);
  else if (key.key === "End") end(true);
  else return;
  key.preventDefault();
});

// The filter: one connection, and which kinds of events.
const SETTINGS = ["setsockopt", "getsockopt", "fcntl", "ioctl", "getsockname", "getpeername"];
const KINDS = { segment: "segments", ack: "bare acknowledgements", state: "states", process: "processes" };
const connection = document.getElementById("connection");
const kinds = document.getElementById("kinds");
const boxes = new Map(); // a kind: its checkbox

const counts = new Map();
for (const { id, kind } of events) {
  if (!id.endsWith("-end")) counts.set(kind, (counts.get(kind) || 0) + 1);
}
const named = [...counts.keys()].filter((kind) => !(kind in KINDS)).sort();
for (const kind of [...Object.keys(KINDS).filter((kind) => counts.has(kind)), ...named]) {
  const label = make("label", "");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.value = kind;
  box.addEventListener("change", sift);
  label.append(box, make(kind in KINDS ? "span" : "code", KINDS[kind] || kind), make("small", counts.get(kind)));
  kinds.append(label);
  boxes.set(kind, box);
}

function tick(wanted) {
  for (const [kind, box] of boxes) box.checked = wanted(kind);
  sift();
}
const presets = make("p", "");
presets.append(action("Show all", () => tick(() => true)));
if (named.some((kind) => SETTINGS.includes(kind))) {
  presets.append(action("Without settings", () => tick((kind) => !SETTINGS.includes(kind))));
}
presets.append(action("Calls only", () => tick((kind) => !(kind in KINDS))));
presets.append(action("Wire only", () => tick((kind) => ["segment", "ack"].includes(kind))));
kinds.prepend(presets);

const conns = [...new Set(events.map((event) => event.conn))].filter((conn) => conn !== undefined);
for (const conn of conns) {
  const count = events.filter((event) => event.conn === conn && !event.id.endsWith("-end")).length;
  connection.append(new Option(":" + conn + " (" + count + " events)", conn));
}
document.getElementById("one").hidden = conns.length < 2;
connection.addEventListener("change", () => {
  sift();
  showStream();
});

function sift() {
  const one = connection.value;
  let hidden = 0;
  events.forEach((event, place) => {
    off[place] = !boxes.get(event.kind).checked || (one !== "" && String(event.conn) !== one);
    if (off[place] && !event.id.endsWith("-end")) hidden += 1;
    for (const part of parts(place)) part?.classList.toggle("off", off[place]);
  });
  for (const strip of document.querySelectorAll("[data-conn]")) {
    strip.classList.toggle("off", one !== "" && strip.dataset.conn !== one);
  }
  document.getElementById("hidden").textContent = hidden ? ": " + hidden + " hidden" : "";
  squeeze(hidden > 0);
  if (scale.getAttribute("aria-pressed") === "true") toFirst();
  tell();
}

// To scale, what is shown may be far below.
function toFirst() {
  const first = off.indexOf(false);
  choose(chosen < 0 || off[chosen] ? first : chosen, true);
}

// What a diagram by event hides leaves no hole: heights that nothing uses are taken out.
const picture = document.querySelector("#by-event svg");
const heights = []; // an element, and its "y", "height" and "d" where nothing is hidden
for (const element of picture.querySelectorAll("rect, text, path")) {
  const own = ["y", "height", "d"].filter((name) => element.hasAttribute(name));
  heights.push([element, Object.fromEntries(own.map((name) => [name, element.getAttribute(name)]))]);
}
const [, , wide, high] = picture.getAttribute("viewBox").split(" ").map(Number);

// The heights that an element needs: its edges, not what lies between them.
function edges(element) {
  const y = Number(element.getAttribute("y"));
  if (element.tagName === "text") return [[y - 13, y + 5]];
  if (element.tagName === "rect") {
    const bottom = y + Number(element.getAttribute("height"));
    return [[y - 2, y + 2], [bottom - 2, bottom + 2]];
  }
  const ends = [...element.getAttribute("d").matchAll(/[ML][-\d.]+ ([-\d.]+)/g)].map((end) => Number(end[1]));
  return ends.map((end) => [end - 10, end + 10]);
}

function squeeze(some) {
  for (const [element, own] of heights) {
    for (const [name, value] of Object.entries(own)) element.setAttribute(name, value);
  }
  for (const element of picture.querySelectorAll(".out")) element.classList.remove("out");
  picture.setAttribute("viewBox", [0, 0, wide, high].join(" "));
  if (!some) return;
  const used = [[0, 30], [high - 12, high]];
  for (const part of picture.querySelectorAll(".event:not(.off) :is(rect, text, path)")) used.push(...edges(part));
  used.sort((one, other) => one[0] - other[0]);
  const holes = []; // from, to, and what is left of it
  let free = 0;
  for (const [from, to] of used) {
    if (from - free > 24) holes.push([free, from, 14]);
    free = Math.max(free, to);
  }
  const moved = (y) => {
    let less = 0;
    for (const [from, to, left] of holes) {
      if (y >= to) less += to - from - left;
      else if (y > from) return from - less + ((y - from) * left) / (to - from);
    }
    return y - less;
  };
  const isOut = (y) => holes.some(([from, to]) => y > from && y < to);
  for (const [element, { y, height, d }] of heights) {
    const rule = d?.match(/^M[-\d.]+ ([-\d.]+)H/)?.[1];
    const own = element.tagName === "text" ? y : rule;
    if (own && isOut(Number(own)) && !element.closest(".event")) element.classList.add("out");
    if (y) element.setAttribute("y", moved(Number(y)));
    if (y && height) element.setAttribute("height", moved(Number(y) + Number(height)) - moved(Number(y)));
    if (d) {
      element.setAttribute("d", d
        .replace(/([ML][-\d.]+) ([-\d.]+)/g, (_, before, end) => before + " " + moved(Number(end)))
        .replace(/V([-\d.]+)/g, (_, end) => "V" + moved(Number(end))));
    }
  }
  picture.setAttribute("viewBox", [0, 0, wide, moved(high)].join(" "));
}

// The tracks show where the chosen event is.
function point(row) {
  const after = parseFloat(row.querySelector("time").textContent);
  for (const cursor of document.querySelectorAll("#tracks .cursor")) {
    const place = Number(cursor.dataset.left) + after * Number(cursor.dataset.scale);
    cursor.setAttribute("transform", "translate(" + place + ")");
    cursor.removeAttribute("hidden");
  }
}

// Time by event or to scale.
const scale = document.getElementById("scale");
scale.addEventListener("click", () => {
  const toScale = scale.getAttribute("aria-pressed") !== "true";
  scale.setAttribute("aria-pressed", String(toScale));
  document.getElementById("by-event").hidden = toScale;
  document.getElementById("to-scale").hidden = !toScale;
  document.getElementById("time").textContent = toScale ? "to scale" : "not to scale";
  toFirst();
});

// A stream: what a connection carried, as text or as hex.
const streams = JSON.parse(document.getElementById("streams").textContent);
const stream = document.getElementById("stream");
let asHex = false;

function bytesOf(hex) {
  return Uint8Array.from(hex.match(/../g) || [], (byte) => parseInt(byte, 16));
}

// What cannot be seen is written as the calls write it, "\x1b": not every font can draw it.
function visible(text) {
  return text.replace(/[\0-\x08\x0b-\x1f\x7f]/g, (one) => {
    const code = one.charCodeAt(0);
    return code === 13 ? "" : "\\x" + code.toString(16).padStart(2, "0");
  });
}

function showStream() {
  const one = connection.value;
  const wanted = streams.filter((carried) => one === "" || String(carried.conn) === one);
  const modes = make("p", "");
  for (const [name, hex] of [["Text", false], ["Hex", true]]) {
    const button = action(name, () => {
      asHex = hex;
      showStream();
      [...stream.querySelectorAll("p button")].find((other) => other.textContent === name)?.focus();
    });
    button.setAttribute("aria-pressed", String(asHex === hex));
    modes.append(button);
  }
  stream.replaceChildren(modes);
  if (!wanted.length) stream.append(make("p", "No byte was carried."));
  for (const carried of wanted) {
    stream.append(make("h3", carried.client + " ↔ " + carried.server));
    const decoders = { client: new TextDecoder(), server: new TextDecoder() };
    for (const { from, event, hex } of carried.chunks) {
      const text = asHex ? dump(hex) : visible(decoders[from].decode(bytesOf(hex), { stream: true }));
      const place = events.findIndex((other) => other.id === String(event));
      const chunk = place < 0 ? make("div", text) : action(text, () => choose(place, true));
      chunk.className = "chunk " + from;
      chunk.title = from + ": " + hex.length / 2 + " bytes";
      if (place >= 0) chunk.dataset.place = place;
      stream.append(chunk);
    }
    if (carried.more) stream.append(make("p", carried.more + " bytes more are not shown"));
  }
  markChunks();
}

function markChunks() {
  for (const chunk of stream.querySelectorAll("[data-place]")) {
    chunk.classList.toggle("chosen", Number(chunk.dataset.place) === chosen);
  }
}

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
  behind.replaceChildren(make("h2", line + " led to " + countOf(line)), calls);
  behind.scrollTop = 0;
}

function view(name) {
  const names = ["list", "diagram", "source", "stream"];
  for (const other of names) document.body.classList.toggle("show-" + other, other === name);
  document.body.classList.toggle("beside", name === "source" || name === "stream");
  for (const button of document.querySelectorAll(".views button")) {
    button.setAttribute("aria-pressed", String(button.value === name));
  }
}

document.querySelector('.views [value="stream"]').hidden = !streams.length;
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
showStream();
tell();
