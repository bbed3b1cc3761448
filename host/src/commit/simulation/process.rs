//! What a simulated host runs on: every operation waits for its turn, and then happens at once.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;

use super::super::record::Remains;
use super::super::rules::Rule;
use super::super::store::{Published, Store};
use super::world::{Request, Waiting, World};
use crate::catalog::{Catalog, Partition, TableSpec};
use crate::env::Micros;
use crate::generations::Place;
use crate::sink::{Keys, Publish, StagedFile};
use crate::table::Hour;
use crate::{Error, Result, env};

/// One life of a host: it ends with a crash, and a new one begins.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) pipeline: usize,
    /// The host.
    pub(super) host: usize,
    /// This life of it.
    pub(super) number: usize,
}

/// Ready when the scheduler says so.
pub(super) struct Turn {
    process: Process,
    turn: Option<u64>,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let process = self.process.clone();
        let mut state = process.world.state();
        let Some(turn) = self.turn else {
            state.ids += 1;
            let turn = state.ids;
            self.turn = Some(turn);
            state.waiting.push(Waiting { process: process.number, turn, waker: context.waker().clone() });
            return Poll::Pending;
        };
        if state.granted != Some(turn) {
            if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.turn == turn) {
                waiting.waker = context.waker().clone();
            }
            return Poll::Pending;
        }
        state.granted = None;
        state.waiting.retain(|waiting| waiting.turn != turn);
        self.turn = None;
        Poll::Ready(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            self.process.world.state().waiting.retain(|waiting| waiting.turn != turn);
        }
    }
}

impl Process {
    /// Waits for a turn.
    pub(super) fn turn(&self) -> Turn {
        Turn { process: self.clone(), turn: None }
    }

    /// One write, with all that can happen to it.
    pub(super) async fn send(&self, request: Request) -> Result<bool> {
        self.turn().await;
        self.world.state().send(request)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.turn().await;
        let mut state = self.world.state();
        state.tell(|| format!("  read {key}"));
        state.answer()?;
        Ok(state.objects.get(key).map(|(bytes, _)| bytes.clone()))
    }
}

#[async_trait]
impl Store for Process {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        self.send(Request::Create { key: key.into(), bytes: bytes.into() }).await
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.get(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.get(key).await?.is_some())
    }

    async fn publish(&self, file: &StagedFile) -> Result<Published> {
        let Publish::Upload { id, .. } = &file.how else { unreachable!("everything is an upload here") };
        let completed = self.send(Request::Complete { upload: id.clone() }).await?;
        if completed && !self.world.state().rules.on(Rule::HeadAfter) {
            return Ok(Published::Visible);
        }
        self.turn().await;
        let mut state = self.world.state();
        state.tell(|| format!("  head {}", file.key));
        state.answer()?;
        match (state.visible.contains_key(&file.key), completed) {
            (true, _) => Ok(Published::Visible),
            (false, true) => Err(Error::retry("completed, but not there")),
            (false, false) => Ok(Published::Missing),
        }
    }

    async fn remove(&self, file: &StagedFile) -> Result<()> {
        let Publish::Upload { id, .. } = &file.how else { unreachable!("everything is an upload here") };
        self.take_away(&file.key, Some(id)).await
    }

    async fn clear(&self, remains: &Remains) -> Result<()> {
        self.take_away(&remains.key, remains.upload.as_ref()).await
    }
}

impl Process {
    async fn take_away(&self, key: &str, upload: Option<&String>) -> Result<()> {
        let pipeline = self.pipeline;
        let abort = self.world.state().rules.on(Rule::AbortThenDelete);
        if let Some(upload) = upload.filter(|_| abort) {
            self.send(Request::Abort { pipeline, upload: upload.clone() }).await?;
        }
        self.send(Request::Delete { pipeline, key: key.into() }).await.map(drop)
    }
}

impl Process {
    /// What the catalog shows, if it answers.
    fn listed(&self) -> Result<BTreeMap<(String, i64), Option<u32>>> {
        let mut state = self.world.state();
        if state.faults && state.random.chance(300) {
            state.fire("catalog away");
            return Err(Error::retry("the catalog is away"));
        }
        Ok(state.pipelines[self.pipeline].registered.clone())
    }

    async fn put(&self, table: &TableSpec, hours: Vec<(i64, Option<u32>)>) -> Result<()> {
        let request = Request::Register { pipeline: self.pipeline, table: table.table.name.clone(), hours };
        self.send(request).await.map(drop)
    }
}

impl env::World for Process {
    fn now(&self) -> Micros {
        Micros::try_from(self.world.state().step).unwrap_or_default()
    }

    fn fresh_id(&self) -> String {
        self.world.state().fresh_id()
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.turn())
    }
}

#[async_trait]
impl Catalog for Process {
    async fn ensure(&self, _: &[TableSpec]) -> Result<()> {
        Ok(())
    }

    async fn register(&self, table: &TableSpec, places: &[Place]) -> Result<()> {
        let there = self.listed()?;
        let mut hours = Vec::new();
        for place in places {
            let there = there.get(&(table.table.name.clone(), place.hour.0)).copied().flatten();
            if there.is_some_and(|there| there > place.generation)
                && self.world.state().rules.on(Rule::Reconcile)
            {
                continue;
            }
            hours.push((place.hour.0, Some(place.generation)));
        }
        self.put(table, hours).await
    }

    async fn withdraw(&self, table: &TableSpec, hours: &[Hour]) -> Result<()> {
        self.put(table, hours.iter().map(|hour| (hour.0, None)).collect()).await
    }

    async fn partitions(&self, table: &str) -> Result<Option<Vec<Partition>>> {
        self.turn().await;
        let mut listed = Vec::new();
        for ((name, hour), generation) in self.listed()? {
            let (date, of_day) = Hour(hour).values();
            if let Some(generation) = generation.filter(|_| name == table) {
                let folder = Keys::folder(Place { hour: Hour(hour), generation });
                listed.push((date, of_day, format!("s3://sim/{folder}")));
            }
        }
        Ok(Some(listed))
    }
}
