//! Whether an event's value has a member with a value, said from its bytes.
//!
//! Most events are not parsed: a text that is not in the bytes can only be there with escapes, and those begin with a
//! backslash. What is parsed is not built: members beside the way are skipped.

use std::fmt;

use memchr::memmem::Finder;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A member of events, and the value that it is to have.
pub(super) struct Member {
    /// The way to it: names of members and indexes of lists.
    path: Vec<String>,
    value: String,
    finder: Finder<'static>,
}

/// What an event's value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The member has the value.
    Yes,
    /// It has not, or there is none.
    No,
    /// It is no JSON, and the text is in it.
    Unreadable,
}

impl Member {
    /// A member of this name, or at this JSON Pointer (RFC 6901) if it starts with `/`, as transforms name fields.
    pub(super) fn new(field: &str, value: &str) -> Member {
        let path = match field.strip_prefix('/') {
            Some(pointer) => {
                pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
            }
            None => vec![field.to_owned()],
        };
        let finder = Finder::new(value.as_bytes()).into_owned();
        Member { path, value: value.to_owned(), finder }
    }

    /// Looks into an event's value. A text is compared as it is, numbers, `true` and `false` as they are written. Of a
    /// member that is there several times, any counts.
    pub(super) fn find(&self, bytes: &[u8]) -> Found {
        let there = self.finder.find(bytes).is_some();
        if !there && memchr::memchr(b'\\', bytes).is_none() {
            return Found::No;
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let way = Way { path: &self.path, value: &self.value };
        match way.deserialize(&mut reader).and_then(|found| reader.end().map(|()| found)) {
            Ok(true) => Found::Yes,
            Ok(false) => Found::No,
            Err(_) if there => Found::Unreadable,
            Err(_) => Found::No,
        }
    }
}

/// The rest of the way to the member.
#[derive(Clone, Copy)]
struct Way<'a> {
    path: &'a [String],
    value: &'a str,
}

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        if !self.path.is_empty() {
            return from.deserialize_any(self);
        }
        let raw: &RawValue = serde::Deserialize::deserialize(from)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') if text.contains('\\') => {
                serde_json::from_str::<String>(text).map(|text| text == self.value).map_err(D::Error::custom)
            }
            Some(b'"') => Ok(text.get(1..text.len() - 1) == Some(self.value)),
            Some(b'{' | b'[' | b'n') | None => Ok(false),
            Some(_) => Ok(text == self.value),
        }
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let [step, rest @ ..] = self.path else { return Ok(false) };
        let mut found = false;
        while let Some(wanted) = map.next_key_seed(Name(step))? {
            if wanted {
                found |= map.next_value_seed(Way { path: rest, value: self.value })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let [step, rest @ ..] = self.path else { return Ok(false) };
        let wanted = step.parse::<usize>().ok().filter(|at| at.to_string() == *step);
        let (mut at, mut found) = (0, false);
        loop {
            if Some(at) == wanted {
                match list.next_element_seed(Way { path: rest, value: self.value })? {
                    Some(there) => found = there,
                    None => return Ok(found),
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// Whether a member has this name.
struct Name<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn find(field: &str, value: &str, text: &str) -> Found {
        Member::new(field, value).find(text.as_bytes())
    }

    #[test]
    fn a_value_is_found_however_it_is_written() {
        use Found::{No, Unreadable, Yes};
        for (field, value, text, found) in [
            ("user_id", "ada", r#"{"user_id":"ada"}"#, Yes),
            ("user_id", "ada", " {\"a\":[1,{}], \"user_id\" : \"ada\" }\n", Yes),
            ("user_id", "ada", r#"{"user_id":"\u0061da"}"#, Yes),
            ("user_id", "ada", r#"{"\u0075ser_id":"ada"}"#, Yes),
            ("user_id", "a\"d\\a", r#"{"user_id":"a\"d\\a"}"#, Yes),
            ("user_id", "a/d", r#"{"user_id":"a\/d"}"#, Yes),
            ("user_id", "ada\u{1F600}", r#"{"user_id":"ada\ud83d\ude00"}"#, Yes),
            ("user_id", "ädä", r#"{"user_id":"ädä"}"#, Yes),
            // It is another, or somewhere else.
            ("user_id", "ada", r#"{"user_id":"adam"}"#, No),
            ("user_id", "ada", r#"{"user_id":"Ada","page":"ada"}"#, No),
            ("user_id", "ada", r#"{"user":{"user_id":"ada"}}"#, No),
            ("user_id", "ada", r#"{"user_id":["ada"]}"#, No),
            ("user_id", "ada", r#"{"user_id":{"ada":"ada"}}"#, No),
            ("user_id", "null", r#"{"user_id":null}"#, No),
            ("user_id", "ada", r#"["ada"]"#, No),
            ("user_id", "ada", r#""ada""#, No),
            // Numbers and truth as they are written.
            ("user_id", "7", r#"{"user_id":7}"#, Yes),
            ("user_id", "7", r#"{"user_id":"7"}"#, Yes),
            ("user_id", "7", r#"{"user_id":7.0}"#, No),
            ("user_id", "7.0", r#"{"user_id":7.0}"#, Yes),
            ("user_id", "-1e999", r#"{"user_id":-1e999}"#, Yes),
            ("user_id", "12345678901234567890123", r#"{"user_id":12345678901234567890123}"#, Yes),
            ("on", "true", r#"{"on":true}"#, Yes),
            // Several of one name.
            ("user_id", "ada", r#"{"user_id":"ada","user_id":"bob"}"#, Yes),
            ("user_id", "bob", r#"{"user_id":"ada","user_id":"bob"}"#, Yes),
            // Pointers.
            ("/user/id", "ada", r#"{"user":{"id":"ada"},"id":"bob"}"#, Yes),
            ("/users/1/id", "ada", r#"{"users":[{"id":"bob"},{"id":"ada"}]}"#, Yes),
            ("/users/01/id", "ada", r#"{"users":[{"id":"bob"},{"id":"ada"}]}"#, No),
            ("/users/2/id", "ada", r#"{"users":[{"id":"bob"},{"id":"ada"}]}"#, No),
            ("/users/id", "ada", r#"{"users":"ada"}"#, No),
            ("/a~1b/c~0d", "ada", r#"{"a/b":{"c~d":"ada"}}"#, Yes),
            ("/", "ada", r#"{"":"ada"}"#, Yes),
            ("/1", "ada", r#"["bob","ada"]"#, Yes),
            // What is no JSON.
            ("user_id", "ada", r#"{"user_id":"ada""#, Unreadable),
            ("user_id", "ada", "ada", Unreadable),
            ("user_id", "ada", r#"{"user_id":"ada"} {"#, Unreadable),
            ("user_id", "ada", r#"{"user_id":"bob""#, No),
            ("user_id", "ada", "\\", No),
            ("user_id", "ada", "", No),
        ] {
            assert_eq!(find(field, value, text), found, "{field} in {text}");
        }
        let member = Member::new("user_id", "ada");
        assert_eq!(
            member.find(b"{\"user_id\":\"ada\",\"b\":\"\xff\"}"),
            Found::Yes,
            "what is skipped may be anything"
        );
        assert_eq!(member.find(b"\xffada"), Found::Unreadable);
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..30).prop_map(Value::from),
            "[ab\"\\\\/\u{0}é😀]{0,2}".prop_map(Value::from),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        leaf().prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ab/~\"01é]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::from(serde_json::Map::from_iter(members))),
            ]
        })
    }

    /// Every letter of every text escaped.
    fn escaped(value: &Value, to: &mut String) {
        let text = |text: &str, to: &mut String| {
            to.push('"');
            text.encode_utf16().for_each(|unit| to.push_str(&format!("\\u{unit:04x}")));
            to.push('"');
        };
        match value {
            Value::String(found) => text(found, to),
            Value::Array(items) => {
                to.push('[');
                for (n, item) in items.iter().enumerate() {
                    to.push_str(if n > 0 { " , " } else { "" });
                    escaped(item, to);
                }
                to.push(']');
            }
            Value::Object(members) => {
                to.push('{');
                for (n, (name, member)) in members.iter().enumerate() {
                    to.push_str(if n > 0 { "," } else { "\n" });
                    text(name, to);
                    to.push_str(" : ");
                    escaped(member, to);
                }
                to.push('}');
            }
            other => to.push_str(&other.to_string()),
        }
    }

    fn texts(value: &Value, all: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| texts(item, all)),
            Value::Object(members) => members.values().for_each(|member| texts(member, all)),
            Value::String(text) => all.push(text.clone()),
            other => all.push(other.to_string()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_finds_what_a_parsed_value_has(value in value(), pointer in "(/[ab01é]{0,2}){1,3}") {
            let mut wanted = Vec::new();
            texts(&value, &mut wanted);
            let (plain, mut all) = (value.to_string(), String::new());
            escaped(&value, &mut all);
            let there = match value.pointer(&pointer) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                Some(Value::Bool(truth)) => Some(truth.to_string()),
                _ => None,
            };
            for wanted in wanted.iter().filter(|wanted| !wanted.is_empty()) {
                let found = if there.as_ref() == Some(wanted) { Found::Yes } else { Found::No };
                let member = Member::new(&pointer, wanted);
                prop_assert_eq!(member.find(plain.as_bytes()), found, "{} in {}", pointer, plain);
                prop_assert_eq!(member.find(all.as_bytes()), found, "{} in {}", pointer, all);
            }
        }
    }
}
