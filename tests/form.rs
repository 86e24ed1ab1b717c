//! An example is one concept on one screen: its form is checked here, so that it stays so.

use std::path::Path;
use std::{env, fs};

use stage::claims;

const MOST_LINES: usize = 60;
/// So many lines may follow a comment. The book prints it beside them.
const MOST_UNTOLD: usize = 7;

fn sources() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    sources.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// What stands between the imports and `main`.
fn items(source: &str) -> &str {
    let from_first_item = source.rsplit_once("\nuse ").map_or("", |(_, rest)| rest);
    let items = from_first_item.split_once(";\n").map_or("", |(_, items)| items);
    items.split("\nfn main()").next().unwrap()
}

/// Lines of code: without blanks, comments, imports and `main`.
fn lines_of_code(source: &str) -> usize {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    items(source).lines().filter(is_code).count()
}

#[test]
fn every_example_fits_one_screen() {
    for (name, source) in sources() {
        let lines = lines_of_code(&source);
        assert!(lines > 0 && lines <= MOST_LINES, "{name} has {lines} lines of code");
        if let Some(wide) = source.lines().find(|line| line.chars().count() > 100) {
            panic!("{name} has a line over 100 columns: {wide}");
        }
    }
}

/// The claims of a header: its lines `Claim ID: words.`, which may go on in the next line.
fn claims_told(source: &str) -> Vec<(&str, String)> {
    let header = source.split("\n//!\n").find(|part| part.contains("//! Claim "));
    let claims = header.unwrap_or_default().split("//! Claim ").skip(1);
    let told = claims.map(|claim| claim.split_once(": ").unwrap_or((claim, "")));
    let one_line =
        |words: &str| words.replace("\n//!", "").split_whitespace().collect::<Vec<_>>().join(" ");
    told.map(|(id, words)| (id, one_line(words))).collect()
}

#[test]
fn every_header_says_what_a_reader_looks_for() {
    for (name, source) in sources() {
        let header: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let title = header.first().unwrap_or_else(|| panic!("{name} has no header"));
        assert!(
            title.ends_with('.') && title.len() <= 101,
            "{name}: one sentence, one line: {title}"
        );
        assert_eq!(header.get(1), Some(&""), "{name}: the title stands alone");
        let text = header.join("\n");
        for part in ["\n Article ", " man: ", "\n Expect:", "\n Change and see:"] {
            assert!(text.contains(part), "{name}: the header lacks {:?}", part.trim());
        }
    }
}

#[test]
fn a_comment_stands_above_every_few_lines_and_at_the_end_of_none() {
    for (name, source) in sources() {
        let mut untold = 0;
        for line in items(&source).lines().map(str::trim) {
            if ["//", "fn ", "const "].iter().any(|begin| line.starts_with(begin)) {
                untold = 0;
                continue;
            }
            // A line that only closes what others have opened needs no word.
            untold += usize::from(line.contains(char::is_alphanumeric));
            assert!(untold <= MOST_UNTOLD, "{name}: no comment above these lines: {line}");
            assert!(!line.contains(" // "), "{name}: the comment goes above its line: {line}");
        }
    }
}

#[test]
fn every_example_belongs_to_the_section_in_its_name() {
    for (name, source) in sources() {
        let section: u32 = name[1..3].parse().unwrap_or_else(|_| panic!("{name}: not sNN_…"));
        let article = source.split_once("Article ").expect("checked above").1;
        let digits: String = article.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(digits.parse(), Ok(section), "{name} says Article {digits}");
    }
}

#[test]
fn every_header_tells_the_claims_that_the_example_answers() {
    for (name, source) in sources() {
        let told: Vec<&str> = claims_told(&source).into_iter().map(|(id, _)| id).collect();
        let answers = source.split(".claim(").skip(1).filter_map(|call| {
            call.trim_start().strip_prefix('"').and_then(|id| id.split('"').next())
        });
        let [mut told, mut answered] = [told, answers.collect()];
        told.sort_unstable();
        answered.sort_unstable();
        answered.dedup();
        assert_eq!(told, answered, "{name}: the claims told, and those answered");
        assert!(!source.contains("Claims: "), "{name}: a line for each, `Claim ID: words.`");
    }
}

#[test]
fn a_claims_id_never_stands_without_its_words() {
    let ids: Vec<&str> = claims::all().map(|claim| claim.id).collect();
    for (name, source) in sources() {
        for (id, words) in claims_told(&source) {
            let claim = claims::all().find(|claim| claim.id == id);
            let claim = claim.unwrap_or_else(|| panic!("{name}: {id} is not in stage/claims.tsv"));
            assert_eq!(words, claim.statement, "{name}: claim {id} in other words");
        }
        for line in source.lines().filter(|line| !line.starts_with("//! Claim ")) {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let mut words = comment.split(|c: char| !c.is_ascii_alphanumeric());
            let id = words.find(|word| ids.contains(word));
            assert_eq!(id, None, "{name}: an id without its words: {line}");
        }
    }
}
