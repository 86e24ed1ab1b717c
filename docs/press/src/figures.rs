//! What a run writes into a page is no part of what is translated: `{1}`, `{2}` … stand for it.

/// The pages that a run writes.
pub const PAGES: [&str; 3] = ["faults.md", "faults-servers.md", "speed.md"];

/// The string with a mark for each figure, and for each code that has one; and what they stand for.
pub fn masked(text: &str) -> (String, Vec<&str>) {
    let mut mask = String::new();
    let mut figures = Vec::new();
    let (mut rest, mut before) = (text, ' ');
    while let Some(next) = rest.chars().next() {
        let begins = next.is_ascii_digit() && !before.is_alphanumeric() && before != '_';
        let len = match next {
            '`' => rest[1..].find('`').map_or(1, |end| end + 2),
            _ if begins => figure(rest),
            _ => next.len_utf8(),
        };
        let part = &rest[..len];
        if begins || next == '`' && part.contains(|c: char| c.is_ascii_digit()) {
            figures.push(part);
            mask += &format!("{{{}}}", figures.len());
        } else {
            mask += part;
        }
        before = part.chars().last().unwrap_or(next);
        rest = &rest[len..];
    }
    (mask, figures)
}

/// The string, or its translation, with what its marks stand for.
pub fn filled(text: &str, figures: &[&str]) -> String {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mark = part.split_once('}');
        let figure = mark.and_then(|(n, rest)| {
            Some((figures.get(n.parse::<usize>().ok()?.checked_sub(1)?)?, rest))
        });
        filled += &figure.map_or_else(|| format!("{{{part}"), |(it, rest)| format!("{it}{rest}"));
    }
    filled
}

/// The page, where in a table no figure is parted from its unit.
pub fn unbroken(page: &str) -> String {
    let cell = |cell: &str| {
        let is_figure = |text: &str| text.chars().all(|c| c.is_ascii_digit() || ".,".contains(c));
        let is_unit = |text: &str| text.len() < 4 && text.chars().all(|c| c.is_ascii_alphabetic());
        match cell.split_once(' ') {
            Some((value, unit)) if is_figure(value) && is_unit(unit) => {
                format!("{value}\u{a0}{unit}")
            }
            _ => cell.to_owned(),
        }
    };
    let row = |line: &str| match line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
        Some(row) => {
            format!("| {} |", row.split(" | ").map(cell).collect::<Vec<String>>().join(" | "))
        }
        None => line.to_owned(),
    };
    page.lines().map(row).collect::<Vec<String>>().join("\n") + "\n"
}

/// The length of the figure that a text begins with: `65,483`, `0.5`, `1e6`.
fn figure(text: &str) -> usize {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !".,".contains(c));
    text[..end.unwrap_or(text.len())].trim_end_matches(['.', ',']).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_code_with_figures_are_masked_and_come_back() {
        for (text, mask) in [
            ("Linux `6.18.4-v6`, 2 cores; 1,5.", "Linux {1}, {2} cores; {3}."),
            ("step 3, 1.04 by IPv6 of s01_peek", "step {1}, {2} by IPv6 of s01_peek"),
            ("a `Vec` of 5 `os error 24`", "a `Vec` of {1} {2}"),
            ("145 k", "{1} k"),
            ("a ` alone, {x}, 가1", "a ` alone, {x}, 가1"),
        ] {
            let (masked, figures) = masked(text);
            assert_eq!(masked, mask);
            assert_eq!(filled(&masked, &figures), text);
        }
        assert_eq!(filled("{2} of {1}, {3}", &["4", "5"]), "5 of 4, {3}");
    }

    #[test]
    fn a_figure_keeps_its_unit() {
        let page = "1 k\n| 16 B | 7.179 M | 1 two sends |\n";
        assert_eq!(unbroken(page), "1 k\n| 16\u{a0}B | 7.179\u{a0}M | 1 two sends |\n");
    }
}
