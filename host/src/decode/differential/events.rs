//! Events as producers write them, and as they should not.

use super::random::Random;
use super::values::{Usual, value};

/// Names that are declared, and others.
const MEMBERS: [(&str, Usual); 22] = [
    ("user_id", Usual::Text),
    ("event_type", Usual::Text),
    ("timestamp", Usual::Time),
    ("count", Usual::Integer),
    ("price", Usual::Float),
    ("paid", Usual::Boolean),
    ("day", Usual::Day),
    ("amount", Usual::Money),
    ("bytes", Usual::Text),
    ("context", Usual::Context),
    ("tags", Usual::Tags),
    ("a/b", Usual::Context),
    ("", Usual::Text),
    ("größe", Usual::Integer),
    ("quo\\\"te", Usual::Text),
    ("a_name_that_is_longer_than_a_block_of_bytes", Usual::Text),
    ("timestamp_of_a", Usual::Text),
    ("timestamp_of_b", Usual::Text),
    ("undeclared", Usual::Other),
    ("user_i", Usual::Other),
    ("user_idx", Usual::Text),
    ("a_name_that_is_longer_than_a_block_of_bytes_and_more", Usual::Integer),
];

/// Events of a few shapes that come again, and of others that do not.
pub(super) struct Stream {
    shapes: Vec<Shape>,
    /// The one of the last event: the next is often alike.
    last: usize,
    /// Of so many events one is damaged.
    damaged: usize,
    /// The rest of an event that was cut within a character: the bytes of both are UTF-8, neither is.
    rest: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Shape {
    members: Vec<(&'static str, Usual)>,
    /// White space before and after everything but values.
    space: [&'static str; 6],
}

impl Shape {
    fn new(random: &mut Random) -> Self {
        let mut members = MEMBERS.to_vec();
        random.shuffle(&mut members);
        members.truncate(random.below(9));
        let space = if random.one_in(3) {
            [(); 6].map(|()| {
                random.pick(&["", " ", " ", "\n", "\t", "\r\n", "                                        "])
            })
        } else {
            [""; 6]
        };
        Shape { members, space }
    }
}

impl Stream {
    pub(super) fn new(random: &mut Random) -> Self {
        let shapes = (0..=random.below(7)).map(|_| Shape::new(random)).collect();
        Stream { shapes, last: 0, damaged: [2, 5, 50][random.below(3)], rest: None }
    }

    pub(super) fn next(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        if self.rest.is_some() {
            return self.rest.take();
        }
        if random.one_in(100) {
            return [None, Some(Vec::new())][random.below(2)].clone();
        }
        if random.one_in(5) {
            self.last = random.below(self.shapes.len());
        }
        let mut shape = self.shapes[self.last].clone();
        if random.one_in(8) {
            random.shuffle(&mut shape.members);
        }
        if random.one_in(8) {
            let at = random.below(shape.members.len() + 1);
            shape.members.truncate(at);
        }
        if random.one_in(30) {
            // It may be there already.
            shape.members.push(MEMBERS[random.below(MEMBERS.len())]);
        }
        let mut event = write(&shape, random).into_bytes();
        if random.one_in(20)
            && let Some(at) = event.iter().position(|byte| (0x80..0xc0).contains(byte))
        {
            self.rest = Some(event.split_off(at));
        } else if random.one_in(self.damaged) {
            damage(&mut event, random);
        }
        Some(event)
    }
}

fn write(shape: &Shape, random: &mut Random) -> String {
    let [first, before, after, behind, end, last] = shape.space;
    let mut event = String::new();
    if random.one_in(100) {
        event.push('\u{feff}');
    }
    event.push_str(first);
    event.push('{');
    for (at, (name, usual)) in shape.members.iter().enumerate() {
        if at > 0 {
            event.push(',');
        }
        let escaped = match name.strip_prefix('u') {
            Some(rest) if random.one_in(20) => format!("\\u0075{rest}"),
            _ => (*name).into(),
        };
        event.push_str(&format!("{before}\"{escaped}\"{after}:{behind}{}{end}", value(*usual, random)));
    }
    event.push('}');
    event.push_str(last);
    if random.one_in(60) {
        event.push_str(random.pick(&[" ", "\n\n", "x", "}", ",", "{}", "\u{0}", "\u{feff}"]));
    }
    if random.one_in(300) {
        event = event.replace('{', "[");
    }
    if random.one_in(300) {
        event.push_str(&" ".repeat(2000));
    }
    event
}

/// Those that mean something in JSON or in UTF-8.
const BYTES: &[u8] = b"\"\\{}[]:,0-9.eEntfu a/\t\n\x00\x1f\x7f\x80\xbf\xc3\xe2\xf0\xff";

/// A few bytes changed, as by chance, or by one who wants to hurt.
fn damage(event: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        if event.is_empty() {
            return;
        }
        let at = random.below(event.len());
        let byte = BYTES[random.below(BYTES.len())];
        match random.below(9) {
            0..=2 => event[at] = byte,
            3 => event.insert(at, byte),
            4 => {
                event.remove(at);
            }
            5 => event[at] ^= 1 << random.below(8),
            6 => event.truncate(at),
            7 => {
                // Something of it once more.
                let piece = event[at..(at + 1 + random.below(40)).min(event.len())].to_vec();
                let to = random.below(event.len());
                event.splice(to..to, piece);
            }
            _ => {
                let to = random.below(event.len());
                event.swap(at, to);
            }
        }
    }
}
