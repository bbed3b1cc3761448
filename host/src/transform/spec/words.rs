//! What a descriptor says in words: names, properties.

/// Years of lateness are a mistake, or unbounded state.
pub(super) const LATEST: i64 = 366 * 86_400_000_000;

/// The one property that a descriptor may have: `lateness-us`.
pub(super) fn lateness(given: &[(String, String)]) -> Result<Option<i64>, String> {
    let (ours, others): (Vec<_>, Vec<_>) =
        given.iter().cloned().partition(|(key, _): &(String, String)| key == "lateness-us");
    properties(&others)?;
    let Some((_, value)) = ours.first() else { return Ok(None) };
    match value.parse() {
        Ok(lateness) if (0..=LATEST).contains(&lateness) && ours.len() == 1 => Ok(Some(lateness)),
        _ => Err(format!("its lateness-us must be there once, a number of microseconds from 0 to {LATEST}")),
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

pub(super) fn properties(properties: &[(String, String)]) -> Result<(), String> {
    match properties.iter().find(|(key, _)| !key.starts_with("x-")) {
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
