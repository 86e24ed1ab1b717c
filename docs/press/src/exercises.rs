//! The ends of a chapter: its questions, and the classroom's exercises of that section.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// One exercise of the classroom, as its own file tells of it.
pub struct Exercise {
    /// `06`, as its directory has it.
    number: String,
    /// `send_all`, as `make exercise EX=` takes it.
    name: String,
    /// The first paragraph of its file.
    title: String,
    /// The section in whose chapter it stands: the last that it names, for it needs them all.
    section: String,
}

/// The exercises, in their order. A learner may have put the tasks of `classroom/exercises` into
/// Korean; the solutions have the same ones, and stay.
pub fn read(root: &Path) -> anyhow::Result<Vec<Exercise>> {
    let mut exercises = Vec::new();
    for dir in fs::read_dir(root.join("classroom/solutions")).context("classroom/solutions")? {
        let dir = dir?;
        let place = dir.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(dir.path())? {
            let path = file?.path();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let mut header = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
            let title: Vec<&str> = header.by_ref().take_while(|line| !line.is_empty()).collect();
            let article = header.find_map(|line| line.strip_prefix("Article "));
            let sections = article.and_then(|line| line.split(" man: ").next());
            let section = sections.and_then(last_section);
            exercises.push(Exercise {
                number: place.chars().take_while(char::is_ascii_digit).collect(),
                name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                title: title.join(" "),
                section: section.with_context(|| format!("{place} names no section"))?,
            });
        }
    }
    exercises.sort_by(|one, other| one.number.cmp(&other.number));
    Ok(exercises)
}

/// `11` of `3.1, 11.` and `07` of `7.1 (unique_fd).`
fn last_section(sections: &str) -> Option<String> {
    let numbers = sections.split(|c: char| !c.is_ascii_digit() && c != '.');
    let number =
        numbers.filter_map(|part| part.split('.').next()?.parse::<u32>().ok()).next_back()?;
    Some(format!("{number:02}"))
}

/// Those of a section, as a table.
pub fn of_section(exercises: &[Exercise], section: &str) -> String {
    let its = exercises.iter().filter(|one| one.section == section);
    let row = |one: &Exercise| {
        let Exercise { number, name, title, .. } = one;
        format!("| {number} `{name}` | {title} |\n")
    };
    let rows: String = its.map(row).collect();
    match rows.is_empty() {
        true => "The classroom has none of this section. The header of each example says what to \
                 change, and what will be seen then."
            .to_owned(),
        false => format!(
            "| exercise | what to write |\n| --- | --- |\n{rows}\n\
             `make exercise EX=NAME` grades one: [how that goes](../../classroom/README.md)."
        ),
    }
}

/// A chapter in which the answers below `## Questions` are folded up: each question is a numbered
/// point, and its answer the paragraph inside.
pub fn folded(chapter: &str) -> String {
    let Some((before, rest)) = chapter.split_once("## Questions\n") else {
        return chapter.to_owned();
    };
    let (questions, after) = rest.split_once("\n## ").unwrap_or((rest, ""));
    let mut folded = format!("{before}## Questions\n");
    let mut open = false;
    for paragraph in questions.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        let text = lines.join("\n").trim().to_owned();
        let (point, question) = text.split_once(". ").unwrap_or(("", ""));
        if point.parse::<u32>().is_ok() && !paragraph.starts_with(' ') {
            folded += if open { "\n</details>\n" } else { "" };
            folded += "\n<details class=\"question\"><summary>\n\n";
            folded += &format!("{question}\n\n</summary>\n");
            open = true;
        } else {
            folded += &format!("\n{text}\n");
        }
    }
    folded += if open { "\n</details>\n" } else { "" };
    folded + if after.is_empty() { "" } else { "\n## " } + after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exercise_belongs_to_the_last_section_that_it_names() {
        let cases = [
            ("2.1.", "02"),
            ("1.3 and 10.2.", "10"),
            ("7.1 (unique_fd).", "07"),
            ("7.1 (addr_list, resolve).", "07"),
            ("2.2, 4.", "04"),
        ];
        for (sections, expected) in cases {
            assert_eq!(last_section(sections).as_deref(), Some(expected), "{sections}");
        }
        assert_eq!(last_section("nothing."), None);
    }

    #[test]
    fn the_answer_is_folded_below_its_question() {
        let chapter =
            "# A\n\n## Questions\n\n1. Why,\n   then?\n\n   So.\n\n2. And?\n\n   No.\n\n## B\n";
        let question =
            |q, a| format!("<details class=\"question\"><summary>\n\n{q}\n\n</summary>\n\n{a}\n");
        let (one, two) = (question("Why,\nthen?", "So."), question("And?", "No."));
        let expected =
            format!("# A\n\n## Questions\n\n{one}\n</details>\n\n{two}\n</details>\n\n## B\n");
        assert_eq!(folded(chapter), expected);
        assert_eq!(folded("# A\n"), "# A\n");
    }
}
