//! What transforms remember: each state of a last record is there and is what the record says.

use super::inspect::Inspection;
use super::patiently;
use super::records::Slot;
use crate::Result;
use crate::commit::PartitionKey;
use crate::commit::record::StateRef;
use crate::digest::sha256;

impl Inspection<'_> {
    pub(super) async fn states(&mut self) -> Result<()> {
        let last: Vec<(PartitionKey, u64)> =
            self.chain.last.iter().map(|(key, (seq, _))| (key.clone(), *seq)).collect();
        for (key, seq) in last {
            let Slot::There(record) = self.records.read(seq).await? else { continue };
            let advance = record.partitions.iter().find(|advance| advance.partition == key.1);
            for work in advance.iter().flat_map(|advance| &advance.transforms) {
                let Some(state) = &work.state else { continue };
                let Some(why) = self.state(state).await? else { continue };
                // A host that goes ahead drops states that nobody needs any more.
                self.catch_up(u64::MAX).await?;
                if self.chain.last.get(&key).is_some_and(|(last, _)| *last == seq) {
                    let what = format!("record {seq}, partition {}: what {} remembers", key.1, work.name);
                    self.findings.add("state", format!("{what}, {}, {why}", state.key));
                }
            }
        }
        self.chains().await
    }

    /// What chains of history go on from.
    async fn chains(&mut self) -> Result<()> {
        let open: Vec<(String, u64)> =
            self.chain.covered.chains().map(|(name, chain)| (name.to_owned(), chain.seq)).collect();
        for (name, seq) in open {
            let Slot::There(record) = self.records.read(seq).await? else { continue };
            let links = record.backfilled.iter().flat_map(|portion| &portion.chains);
            let lanes = links.filter(|link| link.chain == name).flat_map(|link| &link.lanes);
            for one in lanes.flat_map(|lane| &lane.transforms) {
                let Some(state) = &one.state else { continue };
                let Some(why) = self.state(state).await? else { continue };
                // Whoever goes on with the chain drops states that nobody needs any more.
                self.catch_up(u64::MAX).await?;
                if self.chain.covered.chain(&name).is_some_and(|chain| chain.seq == seq) {
                    let what = format!("record {seq}, chain {name}: what {} remembers", one.name);
                    self.findings.add("state", format!("{what}, {}, {why}", state.key));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with a state.
    async fn state(&self, state: &StateRef) -> Result<Option<String>> {
        let (store, env) = (&self.lake.stores.processed, &self.lake.env);
        let Some(bytes) = patiently(env, || store.read(&state.key)).await? else {
            return Ok(Some("is missing".into()));
        };
        let found = sha256(&bytes);
        Ok((found != state.sha256).then(|| format!("has SHA-256 {found} instead of {}", state.sha256)))
    }
}
