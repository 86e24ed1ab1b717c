//! What may stand after an option, for options of several subcommands.

use std::ops::RangeInclusive;
use std::path::PathBuf;

/// A whole number in this range.
pub fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let (least, most) = (*range.start(), *range.end());
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| match most {
            u64::MAX => format!("write a whole number, {least} or more"),
            _ => format!("write a whole number, {least} to {most}"),
        })
    }
}

/// The path of a file or of a directory.
pub fn path(text: &str) -> Result<PathBuf, String> {
    match text.chars().any(char::is_control) {
        true => Err("write a path without line ends and the like".into()),
        false if text.is_empty() => Err("write a path".into()),
        false => Ok(text.into()),
    }
}
