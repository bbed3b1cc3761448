//! Whose rows go. Who it is stands in no record, log, error or output: only a salted hash.

use std::sync::Arc;

use super::json::Member;
use crate::commit::record::Erased;
use crate::digest::sha256;
use crate::env::Env;
use crate::sink::Prints;
use crate::{Error, Result};

/// Somebody, or something, whose rows are to go. It cannot be printed.
#[derive(Clone)]
pub struct Subject(Arc<Known>);

struct Known {
    field: String,
    column: Option<String>,
    value: String,
    keys: bool,
    member: Member,
    salt: String,
    hash: String,
}

impl Subject {
    /// Whose rows have this value: in `field` of the event, which is a member or a JSON Pointer, and in the tables'
    /// column of that name, or of another. `keys`: events with this key in Kafka count, too.
    pub fn new(field: &str, value: &str, column: Option<&str>, keys: bool, env: &Env) -> Result<Subject> {
        if field.is_empty() {
            return Err(Error::usage(
                "the field whose value is looked for has no name: expected --where FIELD=VALUE",
            ));
        }
        // An empty text is what many rows have that name nobody.
        if value.is_empty() {
            return Err(Error::usage(format!("the value of {field} that is looked for is empty")));
        }
        let named = (!field.starts_with('/')).then_some(field);
        let salt = format!("{}{}", env.fresh_id(), env.fresh_id());
        let hash = sha256(format!("{salt}{value}").as_bytes());
        Ok(Subject(Arc::new(Known {
            field: field.into(),
            column: column.or(named).map(str::to_owned),
            value: value.into(),
            keys,
            member: Member::new(field, value),
            salt,
            hash,
        })))
    }

    /// The field that names it.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// The salt, and SHA-256 of it with the value: both as they stand in records.
    pub fn hash(&self) -> (&str, &str) {
        (&self.0.salt, &self.0.hash)
    }

    /// The column of tables that names it.
    pub(super) fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// Whether an event's key in Kafka counts.
    pub(super) fn keys(&self) -> bool {
        self.0.keys
    }

    pub(super) fn value(&self) -> &str {
        &self.0.value
    }

    /// Where it is looked for in events.
    pub(super) fn member(&self) -> &Member {
        &self.0.member
    }

    /// What a record says: so many rows are gone, and these stay.
    pub(super) fn erased(&self, rows: u64, kept: Prints, print: bool) -> Erased {
        Erased {
            field: self.0.field.clone(),
            salt: self.0.salt.clone(),
            hash: self.0.hash.clone(),
            rows,
            kept: kept.rows,
            print: print.then(|| kept.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::machine;

    #[test]
    fn it_is_known_by_a_hash_that_is_another_each_time() {
        let subject = || Subject::new("user_id", "ada", None, false, &machine()).unwrap();
        let (one, two) = (subject(), subject());
        assert_ne!(one.hash(), two.hash());
        // As `printf '%s' "$salt$value" | sha256sum` says it.
        assert_eq!(one.hash().1, sha256(format!("{}ada", one.hash().0).as_bytes()));
        assert_eq!(one.hash().0.len(), 64);
        let erased = one.erased(3, Prints::default(), true);
        assert_eq!((erased.rows, erased.kept, erased.print.as_deref()), (3, 0, Some("0000000000000000")));
        assert!(!serde_json::to_string(&erased).unwrap().contains("ada"));
    }

    #[test]
    fn a_pointer_names_no_column_unless_one_is_said() {
        let column = |field, column| {
            Subject::new(field, "7", column, false, &machine()).unwrap().column().map(str::to_owned)
        };
        assert_eq!(column("user_id", None).as_deref(), Some("user_id"));
        assert_eq!(column("/user/id", None), None);
        assert_eq!(column("/user/id", Some("user_id")).as_deref(), Some("user_id"));
        for (field, value) in [("", "7"), ("user_id", "")] {
            let Err(error) = Subject::new(field, value, None, false, &machine()) else {
                panic!("it was taken")
            };
            assert_eq!(error.kind(), crate::Kind::Usage);
        }
    }
}
