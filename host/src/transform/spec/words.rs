//! What a descriptor says in words: names, properties.

use crate::transform::event_time::LONGEST;

/// The one property that a descriptor may have: `lateness-us`.
pub(super) fn lateness(given: &[(String, String)]) -> Result<Option<i64>, String> {
    const KEY: &str = "lateness-us";
    properties(given, &[KEY])?;
    let mut values = given.iter().filter(|(key, _)| key == KEY).map(|(_, value)| value.parse::<i64>());
    let most = LONGEST.as_micros();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(lateness)), None) if u128::try_from(lateness).is_ok_and(|it| it <= most) => {
            Ok(Some(lateness))
        }
        _ => Err(format!("its {KEY} must be there once, a number of microseconds from 0 to {most}")),
    }
}

/// Names become object keys and tables: `[a-z][a-z0-9_]{0,63}`.
pub(super) fn name(name: &str, what: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    if first && name.len() <= 64 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Ok(());
    }
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Err(format!(
        "{what} is \"{shown}\"; expected lower-case letters, digits and _, 64 at most, a letter first"
    ))
}

pub(super) fn printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control())
}

/// Refuses properties that are neither known where they stand nor for others to read (`x-`).
pub(super) fn properties(properties: &[(String, String)], known: &[&str]) -> Result<(), String> {
    let unknown = |key: &&(String, String)| !key.0.starts_with("x-") && !known.contains(&key.0.as_str());
    match properties.iter().find(unknown) {
        None => Ok(()),
        Some((key, _)) => Err(format!(
            "this host does not know the property \"{}\"; a newer one may",
            key.chars().take(64).flat_map(char::escape_debug).collect::<String>()
        )),
    }
}

pub(super) fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("there is more than one {what} \"{name}\""));
        }
    }
    Ok(())
}
