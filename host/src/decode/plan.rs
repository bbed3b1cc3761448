//! Where in an event the declared fields are, as the fast paths look for them.

use super::block::Pattern;
use super::json::steps;
use crate::batch::FieldSpec;

/// The declared members as a tree: the event itself is the root, a step of a path is a child.
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// For each column the node whose value it holds.
    pub(super) columns: Vec<usize>,
}

/// A value that somebody declared, or that has such values inside.
#[derive(Default)]
pub(super) struct Node {
    pub(super) children: Names,
    /// Whether a column has its value.
    wanted: bool,
}

impl Node {
    /// Whether its value is all that there is to find.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.wanted && self.children.is_empty()
    }
}

/// The node of the event itself.
pub(super) const ROOT: usize = 0;

/// Steps of the longest path: each takes a call within a call.
const STEPS: usize = 32;

impl Plan {
    /// None: only serde_json can read such fields.
    pub(super) fn new(fields: &[FieldSpec]) -> Option<Self> {
        let mut nodes = vec![Node::default()];
        let mut columns = Vec::new();
        for field in fields {
            let steps = steps(&field.path);
            if steps.len() > STEPS {
                return None;
            }
            let mut at = ROOT;
            for step in steps {
                at = nodes[at].children.named(step.as_bytes()).unwrap_or_else(|| {
                    let child = nodes.len();
                    nodes.push(Node::default());
                    nodes[at].children.add(step.as_bytes(), child);
                    child
                });
            }
            nodes[at].wanted = true;
            columns.push(at);
        }
        Some(Plan { nodes, columns })
    }

    /// Where the spans of values go that nobody declared.
    pub(super) fn nobody(&self) -> usize {
        self.nodes.len()
    }
}

/// Names of members, to be found by their bytes in a text.
#[derive(Default)]
pub(super) struct Names {
    names: Vec<Name>,
    /// By hash: the first name that has it, plus one.
    slots: Vec<usize>,
    /// Chosen so that each name has its own slot, if possible.
    factor: u64,
}

/// Factors that are tried.
const FACTORS: u64 = 64;

struct Name {
    pattern: Pattern,
    text: Box<[u8]>,
    node: usize,
    /// The next name with the same slot, plus one.
    next: usize,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn named(&self, text: &[u8]) -> Option<usize> {
        self.names.iter().find(|n| *n.text == *text).map(|n| n.node)
    }

    fn add(&mut self, text: &[u8], node: usize) {
        self.names.push(Name { pattern: Pattern::new(text), text: text.into(), node, next: 0 });
        for at in 1..=FACTORS {
            // Odd, and with bits everywhere.
            self.factor = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * at + 1);
            if self.fill() {
                break;
            }
        }
    }

    /// Gives each name a slot; false: some share one.
    fn fill(&mut self) -> bool {
        self.slots = vec![0; (self.names.len() * 4).next_power_of_two()];
        let mut alone = true;
        for at in 0..self.names.len() {
            let text = &self.names[at].text;
            let mut first = [0; 8];
            let len = text.len().min(8);
            first[..len].copy_from_slice(&text[..len]);
            let slot = self.slot(first, text.len());
            alone &= self.slots[slot] == 0;
            self.names[at].next = self.slots[slot];
            self.slots[slot] = at + 1;
        }
        alone
    }

    /// The node of the name of `len` bytes at `at`, where a block must be.
    #[inline(always)]
    pub(super) fn find(&self, bytes: &[u8], at: usize, len: usize) -> Option<usize> {
        let first = bytes.get(at..)?.first_chunk()?;
        let mut next = *self.slots.get(self.slot(*first, len))?;
        loop {
            let name = self.names.get(next.checked_sub(1)?)?;
            if name.pattern.len() == len && name.pattern.is_at(bytes, at) {
                return Some(name.node);
            }
            next = name.next;
        }
    }

    /// A hash of the length and of the first bytes, of at most eight.
    #[inline(always)]
    fn slot(&self, first: [u8; 8], len: usize) -> usize {
        let used = u64::from_le_bytes(first) << (8 * (8 - len.clamp(1, 8)));
        let hash = (used ^ len as u64).wrapping_mul(self.factor) >> 32;
        hash as usize & self.slots.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::super::block::WIDTH;
    use super::*;

    fn find(names: &Names, text: &str) -> Option<usize> {
        let quoted = format!("{text}\":{}", " ".repeat(WIDTH));
        names.find(quoted.as_bytes(), 0, text.len())
    }

    #[test]
    fn names_are_told_apart() {
        let long = "a name that is much longer than a block of bytes ";
        let all: Vec<String> = (0..300)
            .map(|n| match n % 3 {
                0 => format!("{n}"),
                1 => format!("the same beginning {n}"),
                _ => format!("{long}{n}"),
            })
            .chain([String::new()])
            .collect();
        let mut names = Names::default();
        for (node, name) in all.iter().enumerate() {
            names.add(name.as_bytes(), node);
        }
        for (node, name) in all.iter().enumerate() {
            assert_eq!(find(&names, name), Some(node), "{name}");
            assert_eq!(find(&names, &format!("{name}.")), None, "{name}");
        }
        assert_eq!(find(&Names::default(), "a"), None);
    }

    #[test]
    fn paths_share_their_beginnings() {
        let field = |path: &str| FieldSpec { path: path.into(), data_type: DataType::Utf8 };
        let plan = Plan::new(&["a", "/o/p", "/o/q", "/o", "/a"].map(field)).unwrap();
        assert_eq!(plan.nodes.len(), 5);
        assert_eq!(plan.columns[0], plan.columns[4]);
        assert!(Plan::new(&[field(&"/x".repeat(STEPS + 1))]).is_none());
    }
}
