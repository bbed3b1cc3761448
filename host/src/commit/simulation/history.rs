//! Hours that are rewritten, expire and are swept, in the simulation.

use super::super::flips::{Deed, Flipped, Rewritten};
use super::super::record::{Compacted, DataFile, Erased, Flip};
use super::super::rules::Rule;
use super::host::{HOURS, Host, TABLES, stage};
use super::world::Row;
use crate::Result;

impl Host {
    /// Where a file of an hour goes, as far as this host knows.
    pub(super) fn generation(&self, table: usize, hour: usize) -> u32 {
        self.log.view().generations().get(TABLES[table], HOURS[hour]).generation
    }

    /// Some hour that has files, with those that are true. None: it is not whole, or there is nothing in it.
    async fn some_hour(&mut self) -> Result<Option<(usize, usize, Vec<DataFile>)>> {
        self.log.refresh().await?;
        self.log.roll_forward(None).await?;
        let (table, hour) = {
            let mut state = self.process.world.state();
            (state.random.below(TABLES.len()), state.random.below(HOURS.len()))
        };
        let files: Vec<DataFile> =
            self.log.live_in(TABLES[table], HOURS[hour]).await?.into_values().collect();
        self.process.turn().await;
        let state = self.process.world.state();
        let whole = files.iter().all(|file| state.visible.contains_key(&file.file.key));
        Ok((whole && !files.is_empty()).then_some((table, hour, files)))
    }

    /// Merges the files of an hour.
    pub(super) async fn compact(&mut self) -> Result<()> {
        let Some((table, hour, old)) = self.some_hour().await? else { return Ok(()) };
        let rows: Vec<Row> = {
            let state = self.process.world.state();
            old.iter().flat_map(|file| state.rows[&file.file.key].clone()).collect()
        };
        let generation = old.iter().map(|file| file.generation).max().unwrap_or(1) + 1;
        let (epoch, mut files) = (self.env.fresh_id(), Vec::new());
        for rows in rows.chunks(4) {
            let name = self.keys.file_name(&epoch, 8, u32::try_from(files.len()).expect("few"));
            files.push(stage(&self.process, &epoch, (table, generation), hour, &name, rows).await?);
        }
        let compacted = Compacted { rows: rows.len() as u64, ..Compacted::default() };
        let flips = vec![Flip { table: TABLES[table].to_owned(), hour: HOURS[hour].0, generation }];
        let mut rewritten = Rewritten { flips, supersedes: old, files, deed: Deed::Compacted(compacted) };
        loop {
            match self.log.rewrite(&rewritten, self.told).await? {
                Flipped::True(record) => {
                    self.tell(&record).await;
                    return Ok(());
                }
                Flipped::Changed if self.carry((table, generation), hour, &mut rewritten).await? => {
                    self.process.world.state().fire("what came meanwhile went along");
                }
                Flipped::Changed | Flipped::Fenced => break,
            }
        }
        self.process.world.state().fire("compaction lost its race");
        self.log.throw_away(&rewritten.files).await
    }

    /// Takes the files along that came into an hour while it was rewritten. False: others have rewritten it, or it is
    /// given up.
    async fn carry(&mut self, to: (usize, u32), hour: usize, rewritten: &mut Rewritten) -> Result<bool> {
        let mut live = self.log.live_in(TABLES[to.0], HOURS[hour]).await?;
        let same = rewritten.supersedes.iter().all(|file| live.remove(&file.file.key).is_some());
        let again = self.process.world.state().random.below(4) > 0;
        if !same || live.is_empty() || self.generation(to.0, hour) + 1 != to.1 || !again {
            return Ok(false);
        }
        self.log.roll_forward(None).await?;
        let epoch = self.env.fresh_id();
        for (n, file) in (0..).zip(live.into_values()) {
            let rows = self.process.world.state().rows[&file.file.key].clone();
            let name = self.keys.file_name(&epoch, 8, n);
            rewritten.files.push(stage(&self.process, &epoch, to, hour, &name, &rows).await?);
            rewritten.supersedes.push(file);
        }
        let Deed::Compacted(compacted) = &mut rewritten.deed else { return Ok(false) };
        compacted.rows = rewritten.supersedes.iter().map(|file| file.file.rows).sum();
        Ok(true)
    }

    /// Writes an hour anew as an erasure does of which nothing goes: what comes meanwhile goes along.
    pub(super) async fn erase(&mut self) -> Result<()> {
        let Some((table, hour, old)) = self.some_hour().await? else { return Ok(()) };
        let generation = old.iter().map(|file| file.generation).max().unwrap_or(1) + 1;
        let mut files = Vec::new();
        for old in &old {
            files.push(self.again(old, (table, generation), hour).await?);
        }
        let flips = vec![Flip { table: TABLES[table].to_owned(), hour: HOURS[hour].0, generation }];
        let deed = Deed::Erased(Erased::default());
        let mut rewritten = Rewritten { flips, supersedes: old, files, deed };
        for _ in 0..4 {
            match self.log.rewrite(&rewritten, self.told).await? {
                Flipped::True(record) => {
                    self.tell(&record).await;
                    return Ok(());
                }
                Flipped::Fenced => break,
                Flipped::Changed => {}
            }
            self.log.roll_forward(None).await?;
            let Some(late) = self.log.carry(&mut rewritten).await? else { break };
            self.process.turn().await;
            if !late.iter().all(|file| self.process.world.state().visible.contains_key(&file.file.key)) {
                break;
            }
            for late in &late {
                let file = self.again(late, (table, generation), hour).await?;
                rewritten.files.push(file);
                self.process.world.state().fire("late file carried");
            }
        }
        self.process.world.state().fire("erasure lost its race");
        self.log.throw_away(&rewritten.files).await
    }

    /// The rows of a file in another one.
    async fn again(&self, old: &DataFile, place: (usize, u32), hour: usize) -> Result<DataFile> {
        let rows = self.process.world.state().rows[&old.file.key].clone();
        let epoch = self.env.fresh_id();
        let name = self.keys.file_name(&epoch, 7, 0);
        stage(&self.process, &epoch, place, hour, &name, &rows).await
    }

    /// Takes all files of an hour away.
    pub(super) async fn expire(&mut self) -> Result<()> {
        let Some((_, _, files)) = self.some_hour().await? else { return Ok(()) };
        match self.log.expire(files, 0, self.told).await? {
            Some(record) => self.tell(&record).await,
            None => self.process.world.state().fire("expiry lost its race"),
        }
        Ok(())
    }

    pub(super) async fn tell(&mut self, record: &super::super::Record) {
        // What the catalog does not take is carried on.
        let untold = self.registrar.tell(record, &mut self.log).await;
        self.told = untold.is_none().then_some(record.seq);
    }

    /// Removes what others have taken away, if the catalog shows it no more.
    pub(super) async fn sweep(&mut self) -> Result<()> {
        self.log.refresh().await?;
        self.log.roll_forward(None).await?;
        let mut flips = self.log.view().retired().clone();
        if self.process.world.state().rules.on(Rule::KeepOld) {
            if self.process.world.state().rules.on(Rule::Reconcile) {
                let reconciled = self.registrar.reconcile(self.log.shown().await?).await;
                flips.retain(|_| reconciled.is_ok());
            }
            self.process.turn().await;
            let state = self.process.world.state();
            let pipeline = &state.pipelines[self.process.pipeline];
            flips.retain(|seq| {
                let record = &pipeline.truth.records[usize::try_from(*seq).expect("in memory")];
                record.flips.iter().all(|flip| {
                    let shown = pipeline.registered.get(&(flip.table.clone(), flip.hour));
                    shown.is_some_and(|shown| shown.is_none_or(|shown| shown >= flip.generation))
                })
            });
        }
        if flips.is_empty() {
            return Ok(());
        }
        if let Some(record) = self.log.sweep(&flips, self.told).await? {
            self.tell(&record).await;
        }
        Ok(())
    }
}
