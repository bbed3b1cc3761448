//! The `[config]` of a transform's sidecar file, with types. A key that the transform does not ask for is an error.

use std::fmt::Display;
use std::str::FromStr;

use crate::Result;

/// The `[config]` table of `<name>.toml` beside the component, flattened: `limits.day`, `devices.0`, `devices.1`.
#[derive(Debug)]
pub struct Config {
    entries: Vec<Entry>,
    asked: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    value: String,
    used: bool,
}

impl Config {
    /// From flattened keys and values.
    pub(crate) fn new(entries: Vec<(String, String)>) -> Self {
        let entry = |(key, value)| Entry { key, value, used: false };
        Config { entries: entries.into_iter().map(entry).collect(), asked: Vec::new() }
    }

    /// The value of a key, if it is set; an error if it cannot be read.
    pub fn get<T>(&mut self, key: &str) -> Result<Option<T>>
    where
        T: FromStr<Err: Display>,
    {
        self.one(key)?.map(|value| parse(key, value)).transpose()
    }

    /// The value of a key, or else this one.
    pub fn get_or<T>(&mut self, key: &str, default: T) -> Result<T>
    where
        T: FromStr<Err: Display>,
    {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// The items of a list, if it is set. (An empty list cannot be told from none.)
    pub fn list<T>(&mut self, key: &str) -> Result<Option<Vec<T>>>
    where
        T: FromStr<Err: Display>,
    {
        self.ask(key);
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            let value = &entry.value;
            return Err(format!("config: `{key}` is a list: {key} = [\"{value}\"]"));
        }
        let mut items = Vec::new();
        loop {
            let key = format!("{key}.{}", items.len());
            match self.take(&key) {
                Some(value) => items.push(parse(&key, value)?),
                None => break,
            }
        }
        Ok((!items.is_empty()).then_some(items))
    }

    /// An error if there is a key that nobody asked for.
    pub(crate) fn finish(self) -> Result<()> {
        let Some(unknown) = self.entries.iter().find(|entry| !entry.used) else { return Ok(()) };
        let key = &unknown.key;
        let near = self.asked.iter().map(|known| (distance(key, known), known)).min();
        Err(match near {
            Some((distance, known)) if distance <= key.len().max(known.len()) / 2 => {
                format!("config: unknown key `{key}`; did you mean `{known}`?")
            }
            Some(_) => {
                let mut error = format!("config: unknown key `{key}`; known are ");
                for (i, known) in self.asked.iter().enumerate() {
                    error.push_str(if i == 0 { "`" } else { "`, `" });
                    error.push_str(known);
                }
                error + "`"
            }
            None => format!("config: unknown key `{key}`; there are no settings"),
        })
    }

    fn ask(&mut self, key: &str) {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.into());
        }
    }

    /// The text of a key that is not a list. What does not depend on types is not made for each.
    #[inline(never)]
    fn one(&mut self, key: &str) -> Result<Option<&str>> {
        self.ask(key);
        if self.entries.iter().any(|entry| is_item(&entry.key, key)) {
            return Err(format!("config: `{key}` is one value, not a list"));
        }
        Ok(self.take(key))
    }

    #[inline(never)]
    fn take(&mut self, key: &str) -> Option<&str> {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.used = true;
        Some(&entry.value)
    }
}

fn parse<T>(key: &str, value: &str) -> Result<T>
where
    T: FromStr<Err: Display>,
{
    value.parse().map_err(|error| cannot(key, value, &error))
}

#[cold]
fn cannot(key: &str, value: &str, error: &dyn Display) -> String {
    // Not `{value:?}`: what escapes characters makes each component eight kilobytes larger.
    format!("config: `{key}` cannot be \"{value}\": {error}")
}

/// Whether `key` is `list.0`, `list.1`, …
fn is_item(key: &str, list: &str) -> bool {
    let item = key.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'));
    item.is_some_and(|item| item.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How many letters must be inserted, removed or replaced to make one of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> Config {
        Config::new(entries.iter().map(|&(key, value)| (key.into(), value.into())).collect())
    }

    #[test]
    fn values_have_types_and_defaults() {
        let mut config = config(&[("a.b", "7"), ("on", "true"), ("list.0", "x"), ("list.1", "y")]);
        assert_eq!(config.get::<u32>("a.b"), Ok(Some(7)));
        assert_eq!(config.get_or("on", false), Ok(true));
        assert_eq!(config.get_or("off", 3.5), Ok(3.5));
        assert_eq!(config.list::<String>("list"), Ok(Some(vec!["x".into(), "y".into()])));
        assert_eq!(config.list::<String>("none"), Ok(None));
        assert_eq!(config.finish(), Ok(()));
    }

    #[test]
    fn errors_name_the_key() {
        let mut config = config(&[("days", "many"), ("device", "x"), ("name.0", "x")]);
        let days = config.get::<u32>("days").expect_err("no number");
        assert_eq!(days, "config: `days` cannot be \"many\": invalid digit found in string");
        let device = config.list::<String>("device").expect_err("no list");
        assert_eq!(device, "config: `device` is a list: device = [\"x\"]");
        let name = config.get::<String>("name").expect_err("a list");
        assert_eq!(name, "config: `name` is one value, not a list");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        let unknown = |key: &str| {
            let mut config = config(&[(key, "1")]);
            config.get_or("max_length", 1_u32).expect("a default");
            config.list::<String>("devices").expect("no list");
            config.finish().expect_err("unknown")
        };
        assert_eq!(unknown("max_lenght"), "config: unknown key `max_lenght`; did you mean `max_length`?");
        assert_eq!(unknown("device"), "config: unknown key `device`; did you mean `devices`?");
        assert_eq!(unknown("zzz"), "config: unknown key `zzz`; known are `max_length`, `devices`");
        let nothing = config(&[("a", "1")]).finish();
        assert_eq!(nothing, Err("config: unknown key `a`; there are no settings".into()));
    }
}
