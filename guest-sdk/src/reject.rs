//! Why a row is refused. Reasons are few and stable, because they label a metric: this module keeps them so.

use std::borrow::Cow;
use std::fmt;

use crate::wire::Rejection;

/// A row is refused, and why. `Err("user_id is blank".into())`, or `.ok_or("timestamp is not ISO 8601")?`.
///
/// The reason names the field, never its value: the row itself is kept in full beside the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject(Cow<'static, str>);

impl Reject {
    /// For this reason.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Reject(reason.into())
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Reject {
    fn from(reason: &'static str) -> Self {
        Reject(Cow::Borrowed(reason))
    }
}

impl From<String> for Reject {
    fn from(reason: String) -> Self {
        Reject(Cow::Owned(reason))
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Reject {}

/// The different reasons of one batch; rows with any further one share [`OTHER`].
const MOST: usize = 64;
/// The reason of rows whose own would be one too many.
const OTHER: &str = "other reasons";
/// The bytes of a reason in the contract.
const LONGEST: usize = 200;

/// The rejected rows of a batch, by reason, in the order in which the reasons came up.
#[derive(Debug, Default)]
pub(crate) struct Rejections(Vec<(Cow<'static, str>, Vec<u32>)>);

impl Rejections {
    pub(crate) fn push(&mut self, row: u32, reject: Reject) {
        let reason = shorten(reject.0);
        let found = self.0.iter().position(|(have, _)| *have == reason);
        let found = found.or_else(|| (self.0.len() > MOST).then_some(MOST));
        match found {
            Some(index) => self.0[index].1.push(row),
            None if self.0.len() == MOST => self.0.push((OTHER.into(), vec![row])),
            None => self.0.push((reason, vec![row])),
        }
    }

    pub(crate) fn finish(self) -> Vec<Rejection> {
        self.0.into_iter().map(|(reason, rows)| Rejection { reason: reason.into(), rows }).collect()
    }
}

fn shorten(mut reason: Cow<'static, str>) -> Cow<'static, str> {
    if reason.is_empty() {
        return "no reason given".into();
    }
    if reason.len() > LONGEST {
        let end = reason.floor_char_boundary(LONGEST);
        reason.to_mut().truncate(end);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_by_reason_and_reasons_are_bounded() {
        let mut rejections = Rejections::default();
        for row in 0..200 {
            rejections.push(row, format!("reason {}", row % 100).into());
        }
        let groups = rejections.finish();
        assert_eq!(groups.len(), 65);
        assert_eq!((&groups[3].reason[..], &groups[3].rows[..]), ("reason 3", &[3, 103][..]));
        assert_eq!(groups[64].reason, "other reasons");
        assert_eq!(groups[64].rows.len(), 72);
        assert_eq!(groups.iter().map(|group| group.rows.len()).sum::<usize>(), 200);
    }

    #[test]
    fn a_reason_is_never_empty_nor_longer_than_the_contract_allows() {
        let mut rejections = Rejections::default();
        rejections.push(0, "".into());
        rejections.push(1, "ä".repeat(300).into());
        rejections.push(2, format!("x{}", "ä".repeat(300)).into());
        let lengths: Vec<usize> = rejections.finish().iter().map(|group| group.reason.len()).collect();
        assert_eq!(lengths, ["no reason given".len(), 200, 199]);
    }
}
