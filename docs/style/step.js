"use strict";

// Stepping: choosing a line of an example marks the rows of its trace that it led to, and choosing
// a row marks the lines that led to it. Meanwhile the trace stays at the bottom of the window.
(function () {
    const main = document.querySelector(".content main");
    const trace = main.querySelector("pre[data-led] > code");
    if (!trace || !trace.parentElement.dataset.led) {
        return;
    }
    const run = trace.closest("details");

    // Each line becomes an element of its own. Colours that reach over several lines go on in each.
    const split = (code) => {
        const open = [];
        code.innerHTML = code.innerHTML
            .split("\n")
            .map((line) => {
                const begun = open.join("");
                for (const [tag] of line.matchAll(/<\/?span[^>]*>/g)) {
                    tag.startsWith("</") ? open.pop() : open.push(tag);
                }
                return `<span class="line">${begun}${line}${"</span>".repeat(open.length)}</span>`;
            })
            .join("\n");
        return [...code.querySelectorAll(":scope > .line")];
    };
    const rows = split(trace);
    const lines = new Map();
    for (const code of main.querySelectorAll("pre[data-first] > code")) {
        const first = Number(code.parentElement.dataset.first);
        split(code).forEach((line, place) => lines.set(first + place, line));
    }

    // Which belong to which: `26:10-19 27:20,22` are lines of the example, and rows.
    const tied = new Map();
    const tie = (one, other) => tied.set(one, [...(tied.get(one) ?? []), other]);
    for (const part of trace.parentElement.dataset.led.split(" ")) {
        const [number, ranges] = part.split(":");
        for (const range of ranges.split(",")) {
            const [from, to = from] = range.split("-").map(Number);
            for (const row of rows.slice(from - 1, to)) {
                tie(lines.get(Number(number)), row);
                tie(row, lines.get(Number(number)));
            }
        }
    }

    // In each of the two lists the tab key stops once, and the arrow keys go on from there.
    const lists = [[...lines.values()], rows].map((list) => list.filter((one) => tied.has(one)));
    const listOf = (one) => lists.find((list) => list.includes(one));
    for (const list of lists) {
        for (const one of list) {
            one.setAttribute("role", "button");
            one.setAttribute("aria-pressed", "false");
            one.tabIndex = one === list[0] ? 0 : -1;
        }
    }
    main.classList.add("steps");

    let chosen;
    const unmark = () => {
        for (const one of main.querySelectorAll(".line.chosen, .line.marked")) {
            one.classList.remove("chosen", "marked");
            if (one.hasAttribute("aria-pressed")) {
                one.setAttribute("aria-pressed", "false");
            }
        }
        chosen = undefined;
    };
    const end = () => {
        unmark();
        run.classList.remove("docked");
    };
    // The trace scrolls by itself, to where the text of the row begins.
    const show = (row) => {
        const column = row.textContent.search(/[^ │]/);
        trace.scrollTop = row.offsetTop - trace.clientHeight / 3;
        trace.scrollLeft = (column / row.textContent.length) * row.offsetWidth - 16;
    };
    const choose = (one) => {
        if (one === chosen) {
            end();
            return;
        }
        unmark();
        chosen = one;
        one.classList.add("chosen");
        one.setAttribute("aria-pressed", "true");
        tied.get(one).forEach((other) => other.classList.add("marked"));
        for (const other of listOf(one)) {
            other.tabIndex = other === one ? 0 : -1;
        }
        one.focus({ preventScroll: true });
        run.open = true;
        run.classList.add("docked");
        const [other] = tied.get(one);
        const [line, row] = rows.includes(one) ? [other, one] : [one, other];
        show(row);
        line.scrollIntoView({ block: "nearest" });
    };

    const at = (event) => {
        const one = event.target.closest?.(".line");
        return tied.has(one) ? one : undefined;
    };
    main.addEventListener("click", (event) => {
        // Who selects text does not choose.
        if (at(event) && getSelection().isCollapsed) {
            choose(at(event));
        }
    });
    main.addEventListener("keydown", (event) => {
        const one = at(event);
        const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        if (one && by) {
            const list = listOf(one);
            const next = list[list.indexOf(one) + by];
            event.preventDefault();
            if (next) {
                choose(next);
            }
        } else if (one && (event.key === "Enter" || event.key === " ")) {
            event.preventDefault();
            choose(one);
        }
    });
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape") {
            end();
        }
    });
    run.addEventListener("toggle", () => {
        if (!run.open) {
            end();
        }
    });
})();
