//! The book, as mdBook will read it, has everything once, and every link in it leads somewhere. The
//! pages are assembled from the project as it is; what is then spoilt has to be found.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use press::{Classroom, Korean};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The assembled book in a directory of the test's own: a copy.
fn book(name: &str) -> PathBuf {
    static ASSEMBLED: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("assembled");
        press::assemble(&root(), &out, None).unwrap();
        out
    });
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&out); // one of an earlier run
    copy(&ASSEMBLED, &out);
    out
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { _ = fs::copy(&from, &to).unwrap() }
    }
}

fn proof(book: &Path) -> Result<(usize, usize), String> {
    let files = press::sources(&root()).unwrap();
    press::prove(&root(), book, "md", &files).map_err(|e| format!("{e:#}"))
}

/// Replaces the first `from` in a page.
fn spoil(page: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(page).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", page.display());
    fs::write(page, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn each_line_of_the_sources_stands_in_the_book_once() {
    let (files, lines) = proof(&book("whole")).unwrap();
    let counted = press::sources(&root())
        .unwrap()
        .into_iter()
        .map(|file| fs::read_to_string(root().join(file)).unwrap().lines().count());
    let counted: Vec<usize> = counted.collect();
    assert_eq!((files, lines), (counted.len(), counted.iter().sum()));
}

#[test]
fn a_line_that_is_missing_twice_there_or_another_is_found() {
    let book = book("spoilt");
    let page = book.join("src/stream.md");
    let whole = fs::read_to_string(&page).unwrap();
    let piece = whole.split("<div class=\"piece\">").nth(2).unwrap();
    let code = piece.split("<pre").nth(1).unwrap().lines().next().unwrap();
    let word = piece.split("\n\n").nth(1).unwrap().split(' ').next().unwrap();
    let spoilt = [
        (piece.to_owned(), String::new(), "0 times"),
        (piece.to_owned(), format!("{piece}<div class=\"piece\">{piece}"), "2 times"),
        (code.to_owned(), format!("{code} // more"), "reads otherwise"),
        (format!("\n\n{word} "), "\n\n".to_owned(), "reads otherwise"),
        (
            "data-file=\"src/stream.rs\"".to_owned(),
            "data-file=\"src/no.rs\"".to_owned(),
            "no such file",
        ),
    ];
    for (from, to, expected) in spoilt {
        spoil(&page, &from, &to);
        let said = proof(&book).unwrap_err();
        assert!(said.contains(expected), "{said}, not {expected:?}");
        fs::write(&page, &whole).unwrap();
    }
    proof(&book).unwrap();
    fs::remove_file(book.join("examples/s05_half_close.md")).unwrap();
    assert!(proof(&book).unwrap_err().contains("examples/s05_half_close.rs:1 "));
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let links = press::check_links(&book("linked")).unwrap();
    assert!(links > 500, "only {links} links");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let book = book("unlinked");
    let page = book.join("05-close.md");
    let whole = fs::read_to_string(&page).unwrap();
    for (to, expected) in [("](examples/no.md)", "no page"), ("](src/net.md#no)", "no heading")] {
        spoil(&page, "](examples/s05_half_close.md)", to);
        let said = format!("{:#}", press::check_links(&book).unwrap_err());
        assert!(said.contains("05-close.md") && said.contains(expected), "{said}");
        fs::write(&page, &whole).unwrap();
    }
}

#[test]
fn an_examples_page_has_what_it_printed() {
    let outputs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outputs");
    fs::create_dir_all(&outputs).unwrap();
    fs::write(outputs.join("s05_half_close.txt"), "1 < 2\n\n3 checks\n").unwrap();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("printed");
    press::assemble(&root(), &out, Some(&outputs)).unwrap();
    let output = |name: &str| {
        let page = fs::read_to_string(out.join(format!("examples/{name}.md"))).unwrap();
        let (_, after) = page.split_once("{#output}\n").unwrap();
        after
            .split_once("</pre>")
            .unwrap()
            .0
            .split_once("<code class=\"language-text\">")
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(output("s05_half_close"), "1 &lt; 2\n\n3 checks</code>");
    assert_eq!(output("s01_peek"), "not run where this book was made</code>");
}

/// The names of the examples that a text links to.
fn examples_in(text: &str) -> BTreeSet<String> {
    let links = text.split("](examples/").skip(1).filter_map(|rest| rest.split(".md)").next());
    links.map(str::to_owned).collect()
}

#[test]
fn the_books_list_of_examples_is_that_of_the_folder() {
    let book = book("listed");
    let folder = fs::read_dir(root().join("examples")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let folder: BTreeSet<String> =
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    assert_eq!(examples_in(&fs::read_to_string(book.join("SUMMARY.md")).unwrap()), folder);
    // Each stands in the list of its own chapter.
    let mut listed = BTreeSet::new();
    for entry in fs::read_dir(root().join("docs/chapters")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = fs::read_to_string(book.join(&name)).unwrap();
        let rows: String = text.lines().filter(|line| line.starts_with("| [`s")).collect();
        for example in examples_in(&rows) {
            assert_eq!(example[1..3], name[..2], "{example} in {name}");
            // And its page leads back there.
            let page = fs::read_to_string(book.join(format!("examples/{example}.md"))).unwrap();
            assert!(page.contains(&format!("](../{name})")), "{example}: no link to {name}");
            listed.insert(example);
        }
    }
    assert_eq!(listed, folder);
}

/// The chapters of the article's sections, and their assembled text.
fn chapters(book: &Path) -> Vec<(String, String)> {
    let names = fs::read_dir(root().join("docs/chapters")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let of_section = names.filter(|name| name[..2].parse::<u32>().is_ok_and(|section| section > 0));
    of_section.map(|name| (name.clone(), fs::read_to_string(book.join(name)).unwrap())).collect()
}

#[test]
fn each_chapter_asks_and_each_answer_leads_to_what_shows_it() {
    for (name, text) in chapters(&book("asked")) {
        let (_, asked) = text.split_once("\n## Questions\n").unwrap();
        let (asked, _) = asked.split_once("\n## Exercise\n").unwrap();
        let questions: Vec<&str> = asked.split("<details class=\"question\">").skip(1).collect();
        assert!((3..=5).contains(&questions.len()), "{name}: {} questions", questions.len());
        for one in questions {
            let (question, answer) = one.split_once("</summary>").unwrap();
            let (answer, after) = answer.split_once("</details>").unwrap();
            assert!(question.trim_end().ends_with('?'), "{name}: {question}");
            assert_eq!(after.trim(), "", "{name}");
            let shown = ["](examples/", "](src/", "](servers.md)"];
            assert!(shown.iter().any(|link| answer.contains(link)), "{name}: {answer}");
        }
    }
}

#[test]
fn each_exercise_stands_in_one_chapter() {
    let mut listed = Vec::new();
    for (name, text) in chapters(&book("exercised")) {
        let (_, exercises) = text.split_once("\n## Exercise\n").expect(&name);
        let rows = exercises.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
        listed.extend(rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned())));
    }
    let mut there = Vec::new();
    for dir in fs::read_dir(root().join("classroom/exercises")).unwrap() {
        for file in fs::read_dir(dir.unwrap().path()).unwrap() {
            let stem = file.unwrap().path().file_stem().unwrap().to_owned();
            there.push(stem.into_string().unwrap());
        }
    }
    listed.sort();
    there.sort();
    assert_eq!(listed, there);
}

/// The numbers of the lines of an example that its page ties to its trace.
fn tied(page: &str) -> Vec<usize> {
    let led =
        page.split_once(" data-led=\"").map_or("", |(_, rest)| rest.split('"').next().unwrap());
    led.split(' ').filter_map(|part| part.split_once(':')?.0.parse().ok()).collect()
}

#[test]
fn each_line_that_a_trace_names_is_shown() {
    let book = book("tied");
    for entry in fs::read_dir(root().join("docs/traces")).unwrap() {
        let trace = entry.unwrap().path();
        if trace.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let table = fs::read_to_string(trace.with_extension("lines")).unwrap();
        let name = trace.file_stem().unwrap().to_str().unwrap();
        let page = fs::read_to_string(book.join(format!("examples/{name}.md"))).unwrap();
        let tied = tied(&page);
        assert_eq!(tied.len(), table.lines().count(), "{name}: other lines; make traces EX={name}");
        // Counted as a browser does: from the first that is shown of each piece.
        let shown: BTreeSet<usize> = page
            .split(" data-first=\"")
            .skip(1)
            .flat_map(|part| {
                let (first, rest) = part.split_once('"').unwrap();
                let first: usize = first.parse().unwrap();
                first..first + rest.split("</pre>").next().unwrap().lines().count()
            })
            .collect();
        assert!(tied.iter().all(|line| shown.contains(line)), "{name}: {tied:?}");
    }
}

/// How many headings, pieces, blocks of code and rows of tables a page has.
fn parts(page: &Path) -> [usize; 4] {
    let text = fs::read_to_string(page).unwrap();
    let begins = ["#", "<div", "<pre", "|"];
    begins.map(|begin| text.lines().filter(|line| line.starts_with(begin)).count())
}

#[test]
fn the_pages_said_to_be_in_korean_are() {
    let english = book("english");
    let korean = Korean::read(&root()).unwrap();
    let faults = korean.faults(&english).unwrap();
    let look = "`make strings` marks them in docs/po/ko.po, for a look at their Korean";
    assert!(faults.is_empty(), "{}\n{look}\n", faults.join("\n"));

    // In Korean, too, the links lead somewhere, and the code is that of the files.
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("korean");
    korean.translate(&english, &out).unwrap();
    let (here, there) = (press::check_links(&english), press::check_links(&out));
    assert_eq!(here.unwrap(), there.unwrap());
    proof(&out).unwrap();
    // Part by part the pages are the same, for the switch between the languages to stay in place.
    let complete = fs::read_to_string(root().join("docs/po/complete.txt")).unwrap();
    for page in complete.lines() {
        let [here, there] = [&english, &out].map(|book| parts(&book.join(page)));
        assert_eq!(here, there, "{page}");
    }
    let read = |page: &str| fs::read_to_string(out.join(page)).unwrap();
    assert!(read("05-close.md").starts_with("# 5 연결 종료 "));
    assert!(read("SUMMARY.md").contains("- [5 연결 종료](05-close.md)"));
}

/// The faults that come with what the test has spoilt: not those that the project has by itself,
/// which are for one test to tell.
fn faults(korean: &Korean, english: &Path) -> Vec<String> {
    static OWN: LazyLock<Vec<String>> =
        LazyLock::new(|| Korean::read(&root()).unwrap().faults(&book("own")).unwrap());
    let mut faults = korean.faults(english).unwrap();
    faults.retain(|fault| !OWN.contains(fault));
    faults
}

#[test]
fn another_run_of_the_bench_wants_no_other_translation() {
    let english = book("another-run");
    let page = english.join("speed.md");
    let text = fs::read_to_string(&page).unwrap();
    let other_digit = |c: char| match c.to_digit(10) {
        Some(digit) => char::from_digit((digit + 1) % 10, 10).unwrap(),
        None => c,
    };
    let text: String = text.chars().map(other_digit).collect();
    let (text, instructions) = text.split_once("\n## User instructions\n").unwrap();
    fs::write(&page, text).unwrap();
    let korean = Korean::read(&root()).unwrap();
    assert_eq!(faults(&korean, &english), [""; 0]);

    // Its figures stand in the Korean page, too.
    let text = format!("{text}\n## User instructions\n{instructions}");
    fs::write(&page, text).unwrap();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("another-run-korean");
    korean.translate(&english, &out).unwrap();
    let figures = |page: PathBuf| {
        let text = fs::read_to_string(page).unwrap();
        let words = text.split(|c: char| !c.is_ascii_digit() && !".,".contains(c));
        let words = words.map(|word| word.trim_matches(['.', ',']).to_owned());
        let mut words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        words.sort();
        words
    };
    assert_eq!(figures(page), figures(out.join("speed.md")));
}

/// A root of its own with docs/po, where `file` has each `to` instead of the first `from`.
fn spoilt_po(name: &str, file: &str, spoilt: &[(&str, &str)]) -> Korean {
    let root_of_it = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-root"));
    fs::create_dir_all(root_of_it.join("docs/po")).unwrap();
    for file in ["docs/po/ko.po", "docs/po/complete.txt"] {
        fs::copy(root().join(file), root_of_it.join(file)).unwrap();
    }
    spoilt.iter().for_each(|(from, to)| spoil(&root_of_it.join(file), from, to));
    Korean::read(&root_of_it).unwrap()
}

/// The names in code in the point of README.ko.md that begins so, `*` for anything.
fn listed(readme: &str, point: &str) -> Vec<String> {
    let (_, rest) = readme.split_once(point).unwrap();
    let names = rest.split("\n-").next().unwrap().split("\n\n").next().unwrap();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The pages that those names stand for. Each name stands for one, at least.
fn named(names: &[String], pages: &BTreeSet<String>) -> BTreeSet<String> {
    let of_name = |name: &String| {
        let (before, after) = name.split_once('*').unwrap_or((name, ""));
        let is_it = |page: &&String| match name.contains('*') {
            true => page.starts_with(before) && page.ends_with(after),
            false => *page == name,
        };
        let found: Vec<String> = pages.iter().filter(is_it).cloned().collect();
        assert!(!found.is_empty(), "the book has no page {name}");
        found
    };
    names.iter().flat_map(of_name).collect()
}

/// A root of its own with the classroom, where the catalogue has `to` instead of the first `from`.
fn spoilt_classroom(name: &str, from: &str, to: &str) -> Classroom {
    let root_of_it = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-classroom"));
    let _ = fs::remove_dir_all(&root_of_it);
    fs::create_dir_all(root_of_it.join("docs/po")).unwrap();
    fs::create_dir_all(root_of_it.join("classroom")).unwrap();
    for dir in ["exercises", "grader", "info.toml", "docs"] {
        let place = Path::new("classroom").join(dir);
        symlink(root().canonicalize().unwrap().join(&place), root_of_it.join(&place)).unwrap();
    }
    let file = root_of_it.join("docs/po/classroom.ko.po");
    fs::copy(root().join("docs/po/classroom.ko.po"), &file).unwrap();
    spoil(&file, from, to);
    Classroom::read(&root_of_it).unwrap()
}

#[test]
fn all_that_the_classroom_says_is_in_korean() {
    assert_eq!(Classroom::read(&root()).unwrap().faults().unwrap(), [""; 0]);
}

#[test]
fn a_sentence_of_the_classroom_without_its_korean_is_found() {
    let (id, text) =
        ("msgid \"fd {fd} open after the call\"", "msgstr \"호출한 뒤에도 열려 있는 fd {fd}번\"");
    let whole = format!("{id}\n{text}");
    let place = "classroom/grader/src/child.rs";
    let untold = format!("{place}: no translation of \"fd {{fd}} open after the call\"");
    let other = format!("{place}: other code or links for \"fd {{fd}} open after the call\"");
    let gone = "msgid \"fd {fd} open behind the call\"";
    let gone_is = "ko.po: no page says \"fd {fd} open behind the call\" any more. Its Korean is \
                   \"호출한 뒤에도 열려 있는 fd {fd}번\"";
    let spoilt = [
        ("missing", format!("{id}\nmsgstr \"\""), vec![&*untold]),
        ("fuzzy", format!("#, fuzzy\n{whole}"), vec![&untold]),
        ("other", whole.replace("fd {fd}번", "fd {fp}번"), vec![&other]),
        ("stale", format!("{gone}\n{text}"), vec![&untold, gone_is]),
    ];
    for (name, to, expected) in spoilt {
        assert_eq!(spoilt_classroom(name, &whole, &to).faults().unwrap(), expected);
    }
}

#[test]
fn the_teachers_pages_quote_what_the_grader_says() {
    let english = book("quoted");
    let korean = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quoted-korean");
    Korean::read(&root()).unwrap().translate(&english, &korean).unwrap();
    let faults = press::quoted(&root(), &english, &korean).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // What is not so is found.
    let spoilt = [
        (&english, "teachers-01_unique_fd.md", "drop closes more than once", "drop closes twice"),
        (&korean, "teachers-02_errno.md", "요청받은 것은 호출 한 번이다", "한 번이면 된다"),
        (&english, "teachers-05_listen.md", "`says_zero`", "`says_nothing`"),
        (&english, "teachers-06_send_all.md", "`closes_it`", "`opens_it`"),
        (&english, "teachers-08_eintr.md", "where the lab is there", "or"),
        (&english, "teachers-12_lines.md", "`byte_by_byte`", "byte_by_byte"),
        (&english, "teachers-13_records.md", " answer |", " name |"),
    ];
    for (book, page, from, to) in spoilt {
        spoil(&book.join(page), from, to);
    }
    let faults = press::quoted(&root(), &english, &korean).unwrap();
    let expected = [
        "01_unique_fd.md drop_closes_twice: quoted is \"drop closes twice\", and said is",
        "02_errno.md retries: quoted is \"EINTR 뒤에 recv를 다시 호출했다. 한 번이면 된다\", and said is",
        "05_listen.md: there is no answer says_nothing",
        "06_send_all.md: there is no answer opens_it",
        "08_eintr.md: not everybody has the lab: **Show**",
        "12_lines.md: a row of a table names no answer",
        "13_records.md: no table names the answers",
    ];
    assert_eq!(faults.len(), expected.len(), "{}", faults.join("\n"));
    for (fault, begin) in faults.iter().zip(expected) {
        assert!(fault.starts_with(&format!("teachers-{begin}")), "{fault}");
    }
}

#[test]
fn the_korean_front_page_says_which_pages_are_korean() {
    let summary = fs::read_to_string(book("fronted").join("SUMMARY.md")).unwrap();
    let links = summary.lines().filter_map(|line| line.rsplit_once("]("));
    let pages: BTreeSet<String> =
        links.map(|(_, to)| to.trim_end_matches(')').to_owned()).collect();
    let readme = fs::read_to_string(root().join("README.ko.md")).unwrap();
    let complete = fs::read_to_string(root().join("docs/po/complete.txt")).unwrap();
    let complete: BTreeSet<String> = complete.lines().map(str::to_owned).collect();
    assert!(complete.is_subset(&pages), "{:?}", complete.difference(&pages));
    assert_eq!(named(&listed(&readme, "\n- 한국어인 페이지: "), &pages), complete);
    let english: BTreeSet<String> = pages.difference(&complete).cloned().collect();
    let point = "\n- 영어인 페이지: ";
    let told = if readme.contains(point) { listed(&readme, point) } else { Vec::new() };
    assert_eq!(named(&told, &pages), english);
}

#[test]
fn a_page_that_is_not_translated_says_so() {
    let english = book("some-english");
    let korean = spoilt_po("some", "docs/po/complete.txt", &[("src/stream.md\n", "")]);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("some-korean");
    korean.translate(&english, &out).unwrap();
    for (page, expected) in [("src/stream.md", 1), ("05-close.md", 0)] {
        let text = fs::read_to_string(out.join(page)).unwrap();
        assert_eq!(text.matches("아직 영어로만").count(), expected, "{page}");
    }
}

#[test]
fn a_sentence_that_was_changed_wants_its_translation() {
    let english = book("changed");
    spoil(&english.join("05-close.md"), "with a FIN.", "with one FIN.");
    let faults = faults(&Korean::read(&root()).unwrap(), &english);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("05-close.md: no translation") && faults[0].contains("one FIN"));
    assert!(faults[1].starts_with("ko.po: no page says") && faults[1].contains("a FIN"));
}

#[test]
fn a_sentence_that_was_changed_keeps_its_translation_to_look_at() {
    let english = book("merged");
    spoil(&english.join("05-close.md"), "with a FIN.", "with one FIN.");
    let text = "두 방향은 FIN으로 각각 따로 끝난다.";
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("merged-root");
    spoilt_po("merged", "docs/po/ko.po", &[(text, text)]).merge(&english).unwrap();
    let po = fs::read_to_string(root.join("docs/po/ko.po")).unwrap();
    let parts: Vec<&str> = po.split("#, fuzzy\n").collect();
    assert_eq!(parts.len(), 2, "{} fuzzy strings", parts.len() - 1);
    let message = parts[1].split("\n\n").next().unwrap();
    assert!(message.contains("one FIN") && message.contains(text), "{message}");
    let faults = faults(&Korean::read(&root).unwrap(), &english);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("05-close.md: no translation"), "{faults:?}");
}

#[test]
fn a_translation_that_is_missing_fuzzy_or_has_other_code_is_found() {
    let english = book("faulty");
    let spoilt = [
        ("msgstr \"1 스트림에는 경계가 없다\"", "msgstr \"\""),
        ("msgid \"3 Framing\"", "#, fuzzy\nmsgid \"3 Framing\""),
        ("msgstr \"5 연결 종료\"", "msgstr \"5 `close`\""),
    ];
    let korean = spoilt_po("spoilt", "docs/po/ko.po", &spoilt);
    let expected = [
        "01-boundaries.md: no translation of \"1 A stream has no boundaries\"",
        "03-framing.md: no translation of \"3 Framing\"",
        "05-close.md: other code or links for \"5 The close\"",
    ];
    assert_eq!(faults(&korean, &english), expected);
}
