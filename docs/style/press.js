"use strict";

(function () {
    const main = document.querySelector(".content main");
    // The parts of a page, which are the same in both languages; a note on the language is none.
    const parts = () => [...main.children].filter((part) => !part.matches(".english-only"));

    // An address may end in `#part-7`, or in a heading above something folded up.
    const go = () => {
        const part = location.hash.match(/^#part-(\d+)$/);
        if (part) {
            parts()[part[1]]?.scrollIntoView();
            return;
        }
        const at = location.hash && document.getElementById(location.hash.slice(1));
        const folded = at && at.nextElementSibling;
        if (folded && folded.matches("details")) {
            folded.open = true;
        }
    };
    addEventListener("hashchange", go);
    go();

    // On paper nothing can be unfolded.
    addEventListener("beforeprint", () => {
        main.querySelectorAll("details").forEach((one) => (one.open = true));
    });

    // The other language's page is at the same place in the other book: en/… and ko/….
    const bar = document.querySelector(".right-buttons");
    const there = document.documentElement.lang.startsWith("ko") ? "en" : "ko";
    const root = new URL(path_to_root || "./", document.baseURI);
    const page = location.href.split("#")[0].slice(root.href.length);
    const link = document.createElement("a");
    link.textContent = there === "ko" ? "한국어" : "English";
    link.lang = there;
    link.className = "language";
    link.href = new URL(`../${there}/${page}`, root).href;
    link.addEventListener("click", () => {
        const first = parts().findIndex((part) => part.getBoundingClientRect().bottom > 80);
        link.hash = window.scrollY > 0 && first >= 0 ? `part-${first}` : "";
    });
    bar.prepend(link);

    // Pagefind's files are beside the book. A page that is a file itself may not read them.
    const words =
        there === "en"
            ? {
                  field: "찾기: 부분 읽기, half-close, recv_exact",
                  none: "찾은 페이지가 없다.",
                  file: "찾기는 make docs-open으로 연 책에서 된다.",
                  missing: "이 책은 찾기 없이 만들어졌다.",
              }
            : {
                  field: "Search: short read, half-close, recv_exact",
                  none: "No page has it.",
                  file: "To search, open the book by make docs-open.",
                  missing: "This book was made without search.",
              };
    const make = (name, of) => Object.assign(document.createElement(name), of);
    const search = make("form", { className: "search", role: "search" });
    const field = make("input", { type: "search", placeholder: words.field });
    field.setAttribute("aria-label", words.field);
    const note = make("p", { role: "status" });
    const found = make("ol");
    search.append(field, note, found);
    main.before(search);

    let pagefind;
    const load = async () => {
        const loaded = await import(new URL("pagefind/pagefind.js", root).href);
        await loaded.options({ baseUrl: root.pathname, excerptLength: 20 });
        await loaded.init();
        return loaded;
    };
    const row = (page) => {
        const best = page.sub_results[0] ?? page;
        const name = page.meta.path ?? page.meta.title;
        const title = make("a", { href: best.url, textContent: name });
        const line = make("li");
        line.append(title);
        if (best.title && best.title !== page.meta.title) {
            line.append(` › ${best.title}`);
        }
        // Escaped by Pagefind, but for its marks around the words.
        line.append(make("p", { innerHTML: best.excerpt }));
        return line;
    };
    let turn = 0;
    const ask = async () => {
        const mine = ++turn;
        const term = field.value.trim();
        let said = "";
        let rows = [];
        if (term) {
            try {
                pagefind ??= load();
                const { results } = await (await pagefind).search(term);
                const pages = results.slice(0, 10).map((result) => result.data());
                rows = (await Promise.all(pages)).map(row);
                said = rows.length ? "" : words.none;
            } catch {
                said = location.protocol === "file:" ? words.file : words.missing;
            }
        }
        if (mine === turn) {
            note.textContent = said;
            found.replaceChildren(...rows);
        }
    };
    field.addEventListener("input", ask);
    search.addEventListener("submit", (event) => {
        event.preventDefault();
        found.querySelector("a")?.click();
    });
    // mdBook turns the page at an arrow key, wherever it is pressed.
    field.addEventListener("keydown", (event) => event.stopPropagation());
})();
