//! Every input of the corpus, and every short one over a small alphabet: what a fuzzer has found
//! once stays found.

use std::io::{self, Write};
use std::path::Path;
use std::{fs, panic};

use checks::{ALL, Check};

/// Runs it, and names the input where it fails.
fn ask(name: &str, input: &[u8], check: Check) {
    let result = panic::catch_unwind(|| check(input));
    assert!(result.is_ok(), "{name}: {}", input.escape_ascii());
}

#[test]
fn every_input_of_the_corpus() {
    for (name, check) in ALL {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let input = fs::read(entry.unwrap().path()).unwrap();
            inputs += 1;
            // What takes Miri minutes is no other kind of stream.
            if !cfg!(miri) || input.len() < 50 {
                ask(name, &input, *check);
            }
        }
        assert!(inputs > 0, "{} is empty", dir.display());
        if cfg!(miri) {
            let _ = writeln!(io::stderr(), "  {name}: {inputs} inputs"); // past the harness
        }
    }
}

#[test]
fn a_claim_and_its_header_add_up() {
    checks::largest_claim();
}

/// All streams of up to `longest` of these bytes.
fn all_streams(alphabet: &[u8], longest: usize) -> Vec<Vec<u8>> {
    let mut streams: Vec<Vec<u8>> = vec![vec![]];
    for first in 0.. {
        let Some(stream) = streams.get(first).cloned() else { break };
        if stream.len() < longest {
            streams.extend(alphabet.iter().map(|byte| [&stream[..], &[*byte]].concat()));
        }
    }
    streams
}

#[test]
#[cfg_attr(miri, ignore = "tens of thousands of streams take Miri hours")]
fn every_short_stream_however_it_is_cut() {
    let longest = 5;
    let (numbers, text) = (&[0, 1, 2][..], &b"a\r\n"[..]);
    for (name, check) in ALL {
        let alphabet = if name.contains("lines") { text } else { numbers };
        if ["options", "traces"].contains(name) {
            continue; // words, not bytes
        }
        for stream in all_streams(alphabet, longest) {
            // In one piece, byte by byte, two by two, three by three.
            for cuts in 0..=3 {
                for cap in 0..=2 {
                    ask(name, &[&[cuts, cap], &stream[..]].concat(), *check);
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a cap is the same to every kind of machine")]
fn every_small_cap_and_the_lengths_around_it() {
    for (name, check) in ALL {
        if !name.contains("lines") && !name.contains("frames") {
            continue; // which have no cap
        }
        for cap in 1..=250_u8 {
            // Read as lengths: one such message, however it ends, and a short one.
            for len in [cap - 1, cap, cap + 1] {
                for how in 0..4 {
                    ask(name, &[0, cap, len, how, 1, 0], *check);
                }
            }
        }
    }
}
