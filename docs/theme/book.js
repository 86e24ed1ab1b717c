"use strict";

// The other language's page is at the same place in the other book: en/… and ko/….
(function () {
    const here = document.documentElement.lang.startsWith("ko") ? "ko" : "en";
    const there = here === "ko" ? "en" : "ko";
    const bar = document.querySelector(".right-buttons");
    if (!bar) {
        return;
    }
    const link = document.createElement("a");
    link.textContent = there === "ko" ? "한국어" : "English";
    link.lang = there;
    link.className = "language";
    const root = new URL(path_to_root || "./", document.baseURI);
    const page = document.baseURI.slice(root.href.length);
    link.href = new URL(`../${there}/${page}`, root).href;
    // The same paragraph: both books have the same sequence of headings and pieces.
    link.addEventListener("click", () => {
        link.href = link.href.split("#")[0] + location.hash;
    });
    bar.prepend(link);
})();
