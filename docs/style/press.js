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
        const first = parts().findIndex((part) => part.getBoundingClientRect().bottom > 60);
        link.hash = window.scrollY > 0 && first >= 0 ? `part-${first}` : "";
    });
    bar.prepend(link);
})();
