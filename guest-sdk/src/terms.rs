//! What was made of the terms of a batch.

use crate::field::{Issuer, Term};

/// What was made of the terms of a column, once for each term of a batch and not for each row: of a [`Term`] another
/// one. What is made must follow from the text alone. One table for each column: two would make each other forget.
///
/// ```
/// use tidemill_sdk::{lower, Term, Terms};
///
/// let mut types = Terms::default();
/// let click = Term::from("Click");
/// for _ in 0..3 {
///     assert_eq!(&*types.get(click, |text| lower(text).into_owned()), "click");
/// }
/// assert_eq!(&*types.get_option(None, |text| text.unwrap_or("other").into()), "other");
/// ```
#[derive(Clone, Debug)]
pub struct Terms {
    /// Whose terms they were made of, and who they are made by.
    of: Issuer,
    issuer: Issuer,
    /// The first is made of null, and kept. The others are made of terms, by their numbers.
    made: Vec<Option<String>>,
}

impl Default for Terms {
    fn default() -> Self {
        Terms { of: Issuer::NOBODY, issuer: Issuer::new(), made: vec![None] }
    }
}

impl Terms {
    /// What was made of this term, or is made of it now.
    #[inline]
    pub fn get(&mut self, term: Term<'_>, make: impl FnOnce(&str) -> String) -> Term<'_> {
        if term.issuer != self.of {
            self.renew(term.issuer);
        }
        self.at(term.code as usize + 1, || make(term.text))
    }

    /// The same, where there may be null.
    #[inline]
    pub fn get_option(
        &mut self,
        term: Option<Term<'_>>,
        make: impl FnOnce(Option<&str>) -> String,
    ) -> Term<'_> {
        match term {
            Some(term) => self.get(term, |text| make(Some(text))),
            None => self.at(0, || make(None)),
        }
    }

    #[inline]
    fn at(&mut self, at: usize, make: impl FnOnce() -> String) -> Term<'_> {
        if self.made.get(at).is_none_or(Option::is_none) {
            self.keep(at, make());
        }
        let text = self.made[at].as_deref().unwrap_or_default();
        #[allow(clippy::cast_possible_truncation)]
        Term { text, code: at as u32, issuer: self.issuer }
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, at: usize, made: String) {
        if self.made.len() <= at {
            self.made.resize(at + 1, None);
        }
        self.made[at] = Some(made);
    }

    #[cold]
    #[inline(never)]
    fn renew(&mut self, of: Issuer) {
        (self.of, self.issuer) = (of, Issuer::new());
        self.made.truncate(1);
    }
}
