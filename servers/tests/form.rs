//! A rung is one concept on one file: its form is checked here, so that it stays so.

use std::fs;
use std::path::Path;

use servers::attack;
use servers::rungs::RUNGS;

#[test]
fn every_rung_is_in_the_list() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
    files.retain(|name| name.starts_with('r'));
    files.sort();
    let listed: Vec<String> = RUNGS.iter().map(|rung| format!("{}.rs", rung.name)).collect();
    assert_eq!(files, listed);
}

#[test]
fn every_header_says_what_a_reader_looks_for() {
    for rung in RUNGS {
        let header: Vec<&str> =
            rung.source.lines().map_while(|line| line.strip_prefix("//!")).collect();
        assert!(header[0].trim().starts_with(rung.name), "{}", rung.name);
        assert!(header[0].ends_with('.'), "{}: one sentence, one line", rung.name);
        for part in ["\n Adds: ", "\n Promises: ", "\n Limits: ", "\n At work: "] {
            assert!(header.join("\n").contains(part), "{} lacks {part:?}", rung.name);
        }
        assert!(!rung.adds().is_empty());
        let own = format!("include_str!(\"{}.rs\")", rung.name);
        assert!(rung.source.contains(&own), "{}: its --help is another's", rung.name);
    }
}

#[test]
fn what_an_attack_is_judged_by_stands_in_a_header() {
    assert_eq!(attack::misquoted(RUNGS), [""; 0]);
}
