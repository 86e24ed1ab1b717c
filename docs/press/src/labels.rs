//! What mdBook itself prints around each page, in Korean: its templates have it in English only.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::ensure;

use crate::prove::pages;
use crate::write;

/// As it stands in mdBook's files, and in Korean.
const LABELS: [(&str, &str); 17] = [
    ("\"Table of contents\"", "\"차례\""),
    ("\"Toggle Table of Contents\"", "\"차례 열고 닫기\""),
    ("\"Change theme\"", "\"테마 바꾸기\""),
    ("\"Themes\"", "\"테마\""),
    (">Auto</button>", ">자동</button>"),
    (">Light</button>", ">밝은 테마</button>"),
    ("\"Print this book\"", "\"책 인쇄하기\""),
    ("\"Page navigation\"", "\"페이지 이동\""),
    ("\"Previous chapter\"", "\"이전 페이지\""),
    ("\"Next chapter\"", "\"다음 페이지\""),
    (">Keyboard shortcuts<", ">단축키<"),
    (
        "Press <kbd>←</kbd> or <kbd>→</kbd> to navigate between chapters",
        "<kbd>←</kbd>, <kbd>→</kbd>: 이전 페이지, 다음 페이지",
    ),
    ("Press <kbd>?</kbd> to show this help", "<kbd>?</kbd>: 이 도움말 보기"),
    ("Press <kbd>Esc</kbd> to hide this help", "<kbd>Esc</kbd>: 이 도움말 닫기"),
    ("'Copy to clipboard'", "'클립보드에 복사'"),
    ("'Copied!'", "'복사했다'"),
    ("'Clipboard error!'", "'복사하지 못했다'"),
];

/// Replaces the labels in a book that mdBook has just built.
///
/// # Errors
/// A label that no page has: this mdBook words it otherwise. What the file system says.
pub fn label(book: &Path) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for page in pages(book, "html")?.into_iter().chain(pages(book, "js")?) {
        let text = fs::read_to_string(&page)?;
        let labelled = labelled(&text, &mut seen);
        if labelled != text {
            write(&page, &labelled)?;
        }
    }
    let unseen: Vec<&str> =
        LABELS.iter().map(|(english, _)| *english).filter(|one| !seen.contains(one)).collect();
    ensure!(unseen.is_empty(), "no page of {} has the labels {unseen:?}", book.display());
    Ok(())
}

/// The text with its labels in Korean. Those that it has go into `seen`.
fn labelled(text: &str, seen: &mut BTreeSet<&'static str>) -> String {
    let mut text = text.to_owned();
    for (english, korean) in LABELS {
        if text.contains(english) {
            seen.insert(english);
            text = text.replace(english, korean);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_replaced_and_a_missing_one_is_named() {
        let book = std::env::temp_dir().join(format!("press-labels-{}", std::process::id()));
        let all: String = LABELS.iter().map(|(english, _)| *english).collect();
        write(&book.join("sub/page.html"), &all).unwrap();
        label(&book).unwrap();
        let korean: String = LABELS.iter().map(|(_, korean)| *korean).collect();
        assert_eq!(fs::read_to_string(book.join("sub/page.html")).unwrap(), korean);
        write(&book.join("sub/page.html"), &all.replace("Next chapter", "Onward")).unwrap();
        let said = label(&book).unwrap_err().to_string();
        assert!(said.contains("Next chapter") && !said.contains("Previous"), "{said}");
        fs::remove_dir_all(&book).unwrap();
    }
}
