//! What Pagefind is to look at.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::prove::pages;
use crate::write;

/// What is no page of its own: all for printing, the first chapter once more, and the table of
/// contents for a browser without scripts.
const LEFT_OUT: [&str; 3] = ["print.html", "index.html", "toc.html"];

/// Marks the text and the title of each page of a book that mdBook has just built. Gives how many there are.
///
/// # Errors
/// A page without `<main>`: this mdBook builds it otherwise. What the file system says.
pub fn mark(book: &Path) -> anyhow::Result<usize> {
    let mut marked = 0;
    for page in pages(book, "html")? {
        let place = page.strip_prefix(book)?;
        if LEFT_OUT.iter().any(|left| place == Path::new(left)) || place.starts_with("pagefind") {
            continue;
        }
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        // Pagefind parts the cells of a table, and not those of its head.
        let text = text.replace("</th><th", "</th> <th");
        // Above the text mdBook has the title of the book, in a heading of the same rank.
        let marks = [
            ("<main>", "<main data-pagefind-body>"),
            ("<h1 id=", "<h1 data-pagefind-meta=\"title\" id="),
        ];
        let mut marked_text = text;
        for (from, to) in marks {
            ensure!(marked_text.contains(from), "{} has no {from}", page.display());
            marked_text = marked_text.replacen(from, to, 1);
        }
        // Where a function is written comes before where it is called, and by the name of its file.
        if place.starts_with("src") {
            let (from, to) = ("<main data-", "<main data-pagefind-weight=\"4\" data-");
            marked_text = marked_text.replacen(from, to, 1);
            let (from, to) = ("<p class=\"path\"", "<p data-pagefind-meta=\"path\" class=\"path\"");
            marked_text = marked_text.replacen(from, to, 1);
        }
        write(&page, &marked_text)?;
        marked += 1;
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_marked_once_and_copies_are_not() {
        let book = std::env::temp_dir().join(format!("press-search-{}", std::process::id()));
        for page in ["a.html", "examples/b.html", "print.html", "index.html"] {
            write(&book.join(page), "<main>\n<h1 id=\"a\">A</h1></main>").unwrap();
        }
        assert_eq!(mark(&book).unwrap(), 2);
        const MARKED: &str =
            "<main data-pagefind-body>\n<h1 data-pagefind-meta=\"title\" id=\"a\">A</h1></main>";
        let is_marked = |page: &str| fs::read_to_string(book.join(page)).unwrap().contains(MARKED);
        assert!(is_marked("a.html") && is_marked("examples/b.html"));
        assert!(!is_marked("print.html") && !is_marked("index.html"));
        write(&book.join("a.html"), "<body></body>").unwrap();
        assert!(mark(&book).unwrap_err().to_string().contains("a.html has no <main>"));
        fs::remove_dir_all(&book).unwrap();
    }
}
