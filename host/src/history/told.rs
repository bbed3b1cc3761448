//! Since when readers have been told of flips: notes beside the log, so that every run knows.
//!
//! A note of a record says that after it catalog and views were seen to show all hours where they lie; when that was
//! is when the note was written, by the store's clock. What a flip took away is kept so long *from then on*: a run that
//! was killed, or a catalog that was away, costs readers nothing. A note that is lost costs time only.

use std::collections::BTreeMap;

use crate::Result;
use crate::env::Micros;
use crate::pipeline::offline::Lake;
use crate::wait::tries;

/// How often the store is asked that does not answer.
const TRIES: u32 = 6;

/// The catalog was made to show what it perhaps did not show before: readers get their time once more.
pub(crate) async fn anew(lake: &Lake) -> Result<()> {
    Told::read(lake).await?.forget(lake, 0).await
}

/// When which records were known to readers.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<u64, Micros>);

impl Told {
    /// What was noted.
    pub(super) async fn read(lake: &Lake) -> Result<Told> {
        let (store, folder) = (&lake.stores.processed, lake.keys.told_folder());
        let mut told = Told::default();
        for (key, _) in tries(&lake.env, TRIES, || store.list(&folder, usize::MAX)).await? {
            let Some(seq) = lake.keys.told_of(&key) else { continue };
            // Somebody may have removed it meanwhile.
            if let Some(when) = tries(&lake.env, TRIES, || store.written(&key)).await? {
                told.0.insert(seq, when);
            }
        }
        Ok(told)
    }

    /// Since when readers have known of a flip; none: perhaps they do not.
    pub(super) fn since(&self, flip: u64) -> Option<Micros> {
        self.0.range(flip..).next().map(|(_, when)| *when)
    }

    /// Notes that by now they know of everything up to a record.
    pub(super) async fn note(&mut self, lake: &Lake, seq: u64) -> Result<()> {
        let (store, key) = (&lake.stores.processed, lake.keys.told(seq));
        tries(&lake.env, TRIES, || store.create(&key, b"")).await?;
        if let Some(when) = tries(&lake.env, TRIES, || store.written(&key)).await? {
            self.0.insert(seq, when);
        }
        Ok(())
    }

    /// From this record on they were sent elsewhere meanwhile: what was noted holds no more.
    pub(super) async fn forget(&mut self, lake: &Lake, from: u64) -> Result<()> {
        let gone: Vec<u64> = self.0.range(from..).map(|(seq, _)| *seq).collect();
        self.remove(lake, gone).await
    }

    /// Removes notes that tell nothing about these flips, all that there are before record `next`.
    pub(super) async fn tidy(
        &mut self,
        lake: &Lake,
        flips: impl IntoIterator<Item = u64>,
        next: u64,
    ) -> Result<()> {
        let of = |flip: u64| self.0.range(flip..).next().map(|(seq, _)| *seq);
        let needed: Vec<u64> = flips.into_iter().filter_map(of).collect();
        let gone = self.0.keys().filter(|seq| **seq < next && !needed.contains(seq)).copied().collect();
        self.remove(lake, gone).await
    }

    async fn remove(&mut self, lake: &Lake, seqs: Vec<u64>) -> Result<()> {
        let store = &lake.stores.processed;
        for seq in seqs {
            let key = lake.keys.told(seq);
            tries(&lake.env, TRIES, || store.clear(&key, None, None)).await?;
            self.0.remove(&seq);
        }
        Ok(())
    }
}
