//! Patterns of names: `*` is anything within a folder, `**` any folders, `?` one letter. Names that begin with `_` or
//! `.` are found by none of them: they are not data.

/// A pattern of names, whose parts are divided by `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<String>);

impl Pattern {
    /// Reads a pattern.
    pub(super) fn new(text: &str) -> Pattern {
        Pattern(text.split('/').map(str::to_owned).collect())
    }

    /// Whether it names only itself.
    pub(super) fn plain(&self) -> bool {
        self.0.iter().all(|part| !wild(part))
    }

    /// The folder that all that it names lies in.
    pub(super) fn folder(&self) -> String {
        let fixed = self.0.iter().take_while(|part| !wild(part)).count();
        self.0[..fixed.min(self.0.len().saturating_sub(1))].join("/")
    }

    /// All that lies under a folder.
    pub(super) fn under(folder: &str) -> Pattern {
        Pattern::new(&format!("{}/**", folder.trim_end_matches('/')))
    }

    /// Whether it names this.
    pub(super) fn names(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        path(&self.0, &parts)
    }
}

fn wild(part: &str) -> bool {
    part.contains(['*', '?'])
}

fn path(pattern: &[String], parts: &[&str]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return parts.is_empty() };
    if first == "**" {
        // At its end it stands for files, not for none.
        let least = usize::from(rest.is_empty());
        let most = parts.iter().take_while(|part| !hidden(part)).count();
        return (least..=most).any(|taken| path(rest, &parts[taken..]));
    }
    let Some((part, parts)) = parts.split_first() else { return false };
    let found = if wild(first) { !hidden(part) && one(first, part) } else { first == part };
    found && path(rest, parts)
}

fn hidden(part: &str) -> bool {
    part.starts_with(['_', '.'])
}

/// Whether a part of a pattern names a part of a name.
fn one(pattern: &str, part: &str) -> bool {
    let (pattern, part): (Vec<char>, Vec<char>) = (pattern.chars().collect(), part.chars().collect());
    let (mut at, mut letter, mut star) = (0, 0, None);
    while letter < part.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, letter));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == part[letter] => (at, letter) = (at + 1, letter + 1),
            // The last star takes one letter more.
            _ => match star {
                Some((of, taken)) => {
                    (at, letter) = (of + 1, taken + 1);
                    star = Some((of, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_names() {
        let names = |pattern: &str, name: &str| Pattern::new(pattern).names(name);
        assert!(names("a/*.json", "a/b.json") && !names("a/*.json", "a/b/c.json"));
        assert!(names("a/**", "a/b") && names("a/**", "a/b/c") && !names("a/**", "a"));
        assert!(names("a/**/c", "a/c") && names("a/**/c", "a/b/b/c") && !names("a/**/c", "a/b/d"));
        assert!(names("a/d=*/h=?/x", "a/d=1-2/h=3/x") && !names("a/d=*/h=?/x", "a/d=1-2/h=33/x"));
        assert!(names("a/b*c*d", "a/bxcyd") && !names("a/b*c*d", "a/bxdyc"));
        assert!(!names("a/**", "a/_b/c") && !names("a/*", "a/.b") && names("a/_b/*", "a/_b/c"));
        assert!(names("a", "a") && !names("a", "b"));
    }

    #[test]
    fn where_to_look() {
        let folder = |pattern: &str| Pattern::new(pattern).folder();
        assert_eq!(folder("a/b/*.json"), "a/b");
        assert_eq!(folder("a/b/c.json"), "a/b");
        assert_eq!(folder("/a/**/c"), "/a");
        assert_eq!((folder("*.json").as_str(), folder("c.json").as_str()), ("", ""));
        assert!(Pattern::new("a/c.json").plain() && !Pattern::new("a/?.json").plain());
        assert_eq!(Pattern::under("a/b/"), Pattern::new("a/b/**"));
    }
}
