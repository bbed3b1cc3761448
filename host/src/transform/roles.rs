//! Which transforms have a part in rows that go through the graph outside of the stream.

use super::graph::{Feed, Graph};

/// A transform's part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It has none.
    Off,
    /// It makes the input of another; what else comes of it is dropped.
    Silent,
    On,
}

impl Graph {
    /// What feeds each transform.
    pub(super) fn feeds(&self) -> Vec<Feed> {
        self.nodes.iter().map(|node| node.feed).collect()
    }
}

/// For rows that a transform refused: it, and those that read what it makes. None: all of them. Each transform comes
/// after what it reads.
pub(super) fn for_refused(feeds: &[Feed], by: Option<usize>) -> Vec<Role> {
    match by {
        Some(by) => for_some(feeds, &[by]),
        None => vec![Role::On; feeds.len()],
    }
}

/// For the tables of some transforms: these, and those that read what they make.
pub(super) fn for_some(feeds: &[Feed], chosen: &[usize]) -> Vec<Role> {
    let mut roles = vec![Role::Off; feeds.len()];
    for (at, feed) in feeds.iter().enumerate() {
        let follows = matches!(feed, Feed::Output { node, .. } if roles[*node] == Role::On);
        if chosen.contains(&at) || follows {
            roles[at] = Role::On;
        }
    }
    // Each comes after what it reads, so backwards all that lead to one are found.
    for at in (0..feeds.len()).rev() {
        if let Feed::Output { node, .. } = feeds[at]
            && roles[at] != Role::Off
            && roles[node] == Role::Off
        {
            roles[node] = Role::Silent;
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Off, On, Silent};

    fn feeds() -> [Feed; 7] {
        let output = |node| Feed::Output { node, output: 0 };
        // 0 ─┬─> 1 ─┬─> 3     4 ──> 5
        //    └─> 2  └─> 6
        [Feed::Topic, output(0), output(0), output(1), Feed::Topic, output(4), output(1)]
    }

    #[test]
    fn only_those_that_lack_an_event_get_it() {
        let feeds = feeds();
        assert_eq!(for_refused(&feeds, None), [On; 7]);
        assert_eq!(for_refused(&feeds, Some(0)), [On, On, On, On, Off, Off, On]);
        assert_eq!(for_refused(&feeds, Some(1)), [Silent, On, Off, On, Off, Off, On]);
        assert_eq!(for_refused(&feeds, Some(6)), [Silent, Silent, Off, Off, Off, Off, On]);
        assert_eq!(for_refused(&feeds, Some(4)), [Off, Off, Off, Off, On, On, Off]);
    }

    #[test]
    fn several_have_their_parts_together() {
        let feeds = feeds();
        assert_eq!(for_some(&feeds, &[2, 5]), [Silent, Off, On, Off, Silent, On, Off]);
        assert_eq!(for_some(&feeds, &[0, 6]), [On, On, On, On, Off, Off, On]);
        assert_eq!(for_some(&feeds, &[]), [Off; 7]);
    }
}
