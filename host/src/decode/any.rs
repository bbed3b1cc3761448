//! Reads objects with members in any order.

use super::plan::{Plan, ROOT};
use super::scan::{Kind, Span, colon, scalar, short_string, space, string, value};
use super::template::MEMBERS;

/// A member of an event: where its value is, and whose it is.
pub(super) struct Member {
    pub(super) span: Span,
    pub(super) node: usize,
}

/// Finds the declared values of the event that lies at `at..end`. `spans` has one for each node and one more, all absent
/// before. `members` receives the members of the event, in their order, if they are wanted; not all if they are many.
///
/// False: it is no object, not valid, or unusual; the spans mean nothing then.
pub(super) fn event(
    plan: &Plan,
    bytes: &[u8],
    at: usize,
    end: usize,
    spans: &mut [Span],
    members: Option<&mut Vec<Member>>,
) -> bool {
    let found = object(plan, ROOT, bytes, space(bytes, at), spans, members);
    found.is_some_and(|after| space(&bytes[..end], after) == end)
}

/// The value at `at`, which belongs to a node. A scalar has been looked at if no column will have it.
#[inline(always)]
pub(super) fn of_node(plan: &Plan, node: usize, bytes: &[u8], at: usize, spans: &mut [Span]) -> Option<Span> {
    match plan.nodes.get(node) {
        Some(node) if node.is_plain() => value(bytes, at),
        _ => not_plain(plan, node, bytes, at, spans),
    }
}

#[inline(never)]
fn not_plain(plan: &Plan, node: usize, bytes: &[u8], at: usize, spans: &mut [Span]) -> Option<Span> {
    let inside = plan.nodes.get(node).is_some_and(|n| !n.children.is_empty());
    match bytes.get(at)? {
        b'{' if inside => {
            let to = object(plan, node, bytes, at, spans, None)?;
            Some(Span { from: at, to, kind: Kind::Nested })
        }
        // Steps into arrays are rare.
        b'[' if inside => None,
        _ => {
            value(bytes, at).filter(|found| found.kind != Kind::Scalar || scalar(bytes, at) == Some(found.to))
        }
    }
}

/// The position behind the object that begins at `at`.
fn object(
    plan: &Plan,
    node: usize,
    bytes: &[u8],
    at: usize,
    spans: &mut [Span],
    mut members: Option<&mut Vec<Member>>,
) -> Option<usize> {
    if *bytes.get(at)? != b'{' {
        return None;
    }
    let names = &plan.nodes[node].children;
    let mut at = space(bytes, at + 1);
    if *bytes.get(at)? == b'}' {
        return Some(at + 1);
    }
    loop {
        if *bytes.get(at)? != b'"' {
            return None;
        }
        let from = at + 1;
        let to = match short_string(bytes, from) {
            Some(to) => to,
            // A name with escapes may be a declared one: serde_json sees.
            None => string(bytes, at).filter(|name| name.kind == Kind::Text)?.to,
        };
        let child = names.find(bytes, from, to - from).unwrap_or(plan.nobody());
        at = colon(bytes, to + 1)?;
        let span = of_node(plan, child, bytes, at, spans)?;
        if child != plan.nobody() {
            // It is there twice.
            if spans[child].kind != Kind::Absent {
                return None;
            }
            spans[child] = span;
        }
        if let Some(members) = &mut members
            && members.len() <= MEMBERS
        {
            members.push(Member { span, node: child });
        }
        at = space(bytes, span.after());
        match *bytes.get(at)? {
            b',' => at = space(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}
