"use strict";
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

function action(text, act) {
  const button = make("button", text);
  button.addEventListener("click", act);
  return button;
}

// What lies behind an event.
function describe(event) {
  const table = document.createElement("dl");
  for (const [name, value] of event.facts) table.append(make("dt", name), make("dd", value));
  const described = [make("h2", event.title), table];
  if (event.note) described.splice(1, 0, make("p", event.note));
  if (event.hex) described.push(make("pre", dump(event.hex)));
  return described;
}

// What the mouse is moved to is chosen; what a step scrolls below it is not.
function onPoint(side, act) {
  side.addEventListener("pointermove", (move) => {
    if (move.pointerType === "mouse" && (move.movementX || move.movementY)) act(move.target);
  });
}

