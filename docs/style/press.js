"use strict";

// What stands in a page's address after `#` may be inside something folded up, or be what folds.
(function () {
    const unfold = () => {
        const at = location.hash && document.getElementById(location.hash.slice(1));
        const folded = at && at.nextElementSibling;
        if (folded && folded.matches("details")) {
            folded.open = true;
        }
    };
    addEventListener("hashchange", unfold);
    unfold();
})();
