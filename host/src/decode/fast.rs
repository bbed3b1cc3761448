//! The fast paths: an event is read by a template, or else in any order. What they give is what serde_json would give;
//! on any doubt they give nothing.

use super::any;
use super::block::WIDTH;
use super::column::Builder;
use super::convert::append;
use super::plan::Plan;
use super::scan::Span;
use super::template::Templates;
use crate::batch::FieldSpec;

/// Reads events of one topic.
pub(super) struct Fast {
    plan: Plan,
    templates: Templates,
    /// For each node of the plan where its value is; one more for all others.
    spans: Vec<Span>,
    members: Vec<any::Member>,
    scratch: Vec<u8>,
    /// A copy of an event, with a block behind it.
    last: Vec<u8>,
    /// How often each path was taken to its end.
    #[cfg(test)]
    pub(super) paths: std::collections::BTreeMap<Path, u64>,
}

/// Who has read an event.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    Template,
    Any,
    Serde,
}

impl Fast {
    /// None: there is none for such fields.
    pub(super) fn new(fields: &[FieldSpec]) -> Option<Self> {
        let plan = Plan::new(fields)?;
        let spans = vec![Span::ABSENT; plan.nodes.len() + 1];
        Some(Fast {
            plan,
            templates: Templates::default(),
            spans,
            members: Vec::new(),
            scratch: Vec::new(),
            last: Vec::new(),
            #[cfg(test)]
            paths: std::collections::BTreeMap::new(),
        })
    }

    /// Appends the event at `at..end` to all builders; it is known to be UTF-8. False: serde_json must read it; then
    /// some of the builders may have the row already.
    #[inline(always)]
    pub(super) fn read(&mut self, bytes: &[u8], at: usize, end: usize, builders: &mut [Builder]) -> bool {
        match bytes.get(..end + WIDTH) {
            Some(bytes) => self.read_before(bytes, at, end, builders),
            None => self.read_last(&bytes[at..end], builders),
        }
    }

    /// One of the last of a batch: a block must follow it.
    #[inline(never)]
    fn read_last(&mut self, event: &[u8], builders: &mut [Builder]) -> bool {
        let mut last = std::mem::take(&mut self.last);
        last.clear();
        last.extend_from_slice(event);
        last.extend_from_slice(&[0; WIDTH]);
        let read = self.read_before(&last, 0, event.len(), builders);
        self.last = last;
        read
    }

    #[inline(always)]
    fn read_before(&mut self, bytes: &[u8], at: usize, end: usize, builders: &mut [Builder]) -> bool {
        let templated = self.templates.event(&self.plan, bytes, at, end, &mut self.spans);
        let read = if templated { self.append(bytes, builders) } else { self.any(bytes, at, end, builders) };
        #[cfg(test)]
        {
            let path = if templated { Path::Template } else { Path::Any };
            *self.paths.entry(if read { path } else { Path::Serde }).or_default() += 1;
        }
        read
    }

    #[inline(never)]
    fn any(&mut self, bytes: &[u8], at: usize, end: usize, builders: &mut [Builder]) -> bool {
        let wanted = self.templates.wants();
        self.members.clear();
        self.spans.fill(Span::ABSENT);
        let members = wanted.then_some(&mut self.members);
        let read =
            any::event(&self.plan, bytes, at, end, &mut self.spans, members) && self.append(bytes, builders);
        if read && wanted {
            self.templates.learn(&bytes[at..end], at, &self.members);
        }
        read
    }

    #[inline(always)]
    fn append(&mut self, bytes: &[u8], builders: &mut [Builder]) -> bool {
        for (builder, &node) in builders.iter_mut().zip(&self.plan.columns) {
            if !append(builder, bytes, &self.spans[node], &mut self.scratch) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    /// The paths that these events take, one after another, each followed by others or not.
    fn paths(events: impl IntoIterator<Item = String>) -> Vec<Path> {
        let fields = ["a", "b"].map(|name| FieldSpec { path: name.into(), data_type: DataType::Utf8 });
        let mut fast = Fast::new(&fields).unwrap();
        let mut builders = fields.map(|f| Builder::new(&f.data_type));
        let path = |(at, event): (usize, String)| {
            let before = fast.paths.clone();
            let behind = if at % 2 == 0 { "" } else { "\"not of the event\", and so on and on and on" };
            let bytes = event.clone() + behind;
            let read = fast.read(bytes.as_bytes(), 0, event.len(), &mut builders);
            let path = *fast.paths.iter().find(|(path, n)| before.get(path) != Some(n)).unwrap().0;
            assert_eq!(read, path != Path::Serde, "{event}");
            path
        };
        events.into_iter().enumerate().map(path).collect()
    }

    /// An event of one of many shapes.
    fn shaped(shape: usize) -> String {
        format!("{{\"a\":\"x\",\"other {shape}\":[{shape}],\"b\":\"y\"}}")
    }

    #[test]
    fn a_shape_is_learned_at_once() {
        let events = [
            "{\"a\":\"1\",\"b\":null}",
            "{\"a\":\"\",\"b\":\"2\"}",
            "{ \"b\" : \"3\" } ",
            "{ \"b\" : \"4\" } ",
            "{}",
            "{}",
        ];
        let (any, template) = (Path::Any, Path::Template);
        assert_eq!(paths(events.map(String::from)), [any, template, any, template, any, template]);
    }

    #[test]
    fn what_only_looks_like_a_template_is_read_otherwise() {
        let learned = "{\"a\":\"1\",\"b\":\"2\"}";
        for (event, path) in [
            ("{\"a\":\"1\",\"b\":\"2\"} ", Path::Any),
            ("{\"a\":\"1\",\"b\":\"2\",\"c\":0}", Path::Any),
            ("{\"a\":\"1\",\"b\":\"2\"}}", Path::Serde),
            ("{\"a\":\"1\",\"b\":\"2\"", Path::Serde),
            ("{\"a\":\"1\",\"b\":\"2", Path::Serde),
            ("{\"a\":\"1\",\"b\":2}", Path::Serde),
            ("{\"a\":\"1\",\"b\":\"2\",\"b\":\"2\"}", Path::Serde),
        ] {
            // Twice, so that it stands before other bytes too.
            assert_eq!(paths([learned, event, learned].map(String::from))[1], path, "{event}");
            assert_eq!(paths([learned, learned, event].map(String::from))[2], path, "{event}");
        }
    }

    #[test]
    fn a_new_shape_takes_the_place_of_the_least_used() {
        let old = (0..400).map(|at| shaped(at % 4));
        let new = (0..400).map(|at| shaped(if at % 2 == 0 { 0 } else { 9 }));
        let taken = paths(old.chain(new));
        let by_template = taken.iter().filter(|path| **path == Path::Template).count();
        assert_eq!(by_template, 800 - 5, "each of the five shapes is read in any order once");
    }

    #[test]
    fn where_no_shape_comes_again_learning_is_given_up_and_taken_up() {
        let changing = (0..20_000).map(shaped);
        let steady = (0..6000).map(|_| shaped(7));
        let taken = paths(changing.chain(steady));
        assert!(taken[..20_000].iter().all(|path| *path == Path::Any));
        assert!(taken[25_000..].iter().all(|path| *path == Path::Template), "it is learned in the end");
    }
}
