//! A committer without partitions: over a log in memory.

use std::path::Path;

use super::*;
use crate::catalog::NoCatalog;
use crate::commit::cleanup::tests::Memory;
use crate::commit::record::{Deployed, TransformSet};
use crate::commit::{CannotRemake, Ends};
use crate::env::machine;
use crate::sink::{Keys, Location, ZoneStore};
use crate::table::Zone;

/// A lane that has nothing to do, and says so.
struct Idle(mpsc::UnboundedSender<Up>);

impl Lanes for Idle {
    fn count(&self) -> usize {
        1
    }
    fn order(&self, lane: usize, order: Order) {
        if let Order::Barrier { .. } = order {
            let empty = (vec![], vec![], BTreeMap::new());
            let part =
                Part { lane, epoch: "e".into(), partitions: empty.0, files: empty.1, rejects: empty.2 };
            self.0.send(Up::Part(part)).expect("the committer listens");
        }
    }
}

/// Brokers that nobody asks.
struct Nobody;

impl Offsets for Nobody {
    fn commit(&self, _: &[(i32, i64)]) -> Result<()> {
        Ok(())
    }
    fn topic_id(&self) -> Result<String> {
        Ok(String::new())
    }
    fn ends(&self) -> Result<Ends> {
        Ok(Ends::new())
    }
}

fn stores(root: &Path, keys: &Keys) -> Stores {
    let zone = |zone| {
        let place = Location::Local(root.join(format!("{zone:?}")));
        Arc::new(ZoneStore::open(zone, place, "raw", keys, None, &machine()).expect("a folder"))
    };
    Stores { raw: zone(Zone::Raw), processed: zone(Zone::Processed) }
}

/// With several logs a host may have no partition of one of them. The next that comes to it must begin with the
/// transforms that its log names by then: so it hears of them all the same.
#[tokio::test]
async fn a_host_reads_on_in_a_log_that_it_has_no_partition_of() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Memory::default());
    let shard = Shard::all(2).last().expect("two");
    let whole = Keys::new("p").unwrap();
    let keys = whole.shard(shard);
    let mut log = Log::new(store.clone(), machine(), &keys, "h", Arc::new(CannotRemake));
    log.open().await.unwrap();
    let topic = Topic { name: "t".into(), id: String::new() };
    let mut other = log.clone();
    let (up, from_lanes) = mpsc::unbounded_channel();
    let (requests, asked) = mpsc::channel(16);
    let (transforms, mut told) = watch::channel(None);
    let setup = Setup {
        stores: stores(folder.path(), &whole),
        log,
        topic: topic.clone(),
        policy: Policy::default(),
        catalog: Arc::new(NoCatalog),
        tables: vec![],
        lanes: Arc::new(Idle(up)),
        offsets: Arc::new(Nobody),
        stats: Arc::new(Stats::default()),
        env: machine(),
        interval: Duration::from_millis(20),
        until: None,
        together: Together::new(2),
        shard,
        transforms,
    };
    other.commence(&topic, &Ends::new(), Policy::default()).await.unwrap();
    let components = vec![Deployed { name: "clean".into(), ..Deployed::default() }];
    let seq = other.desire(TransformSet { previous: None, components }).await.unwrap();
    let mut committer = Committer::new(setup, from_lanes, asked);
    committer.looked = None;
    let running = tokio::spawn(committer.run());
    let heard = async { told.wait_for(|set| *set == seq).await.map(|set| *set) };
    let heard = tokio::time::timeout(IDLE * 3, heard).await.expect("it looks around").unwrap();
    assert!(heard.is_some());
    requests.send(Request::Stop).await.unwrap();
    running.await.unwrap().unwrap();
}
