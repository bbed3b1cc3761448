//! The thread that fetches from one broker, one request after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::fetch::{Asked, fetch};
use super::shared::{Plan, Shared};
use super::{CLIENT, Complaints};
use crate::Result;

/// After trouble a broker is tried again after so long, …
const AGAIN: Duration = Duration::from_millis(50);
/// … then twice as long each time, up to this.
const AT_MOST: Duration = Duration::from_millis(500);
/// A broker that wants not to be asked for a while is believed so long a while.
const THROTTLED: Duration = Duration::from_secs(30);
/// A connection that nobody used for so long may have been closed by the broker.
const UNUSED: Duration = Duration::from_secs(60);

/// Fetches until the broker leads none of our partitions.
pub(super) fn run(shared: &Arc<Shared>, broker: i32) {
    let (mut connection, mut pause, mut turn) = (None, AGAIN, 0_usize);
    let mut complaints = Complaints::default();
    loop {
        let Plan::Fetch(address, mut asked) = shared.plan(broker) else { return };
        // Brokers answer in this order until their answer is full: each partition comes first in its time.
        turn = turn.wrapping_add(1);
        let first = turn % asked.len().max(1);
        asked.rotate_left(first);
        match round(shared, &mut connection, &address, &asked, &mut complaints) {
            Ok(throttled) => {
                pause = AGAIN;
                if !throttled.is_zero() {
                    tracing::debug!(?throttled, "kafka at {address}: a quota is used up");
                    shared.pause(throttled.min(THROTTLED));
                }
            }
            Err(e) => {
                connection = None;
                complaints.say(|| format!("{e}; retrying"));
                shared.unreachable();
                shared.pause(pause);
                pause = (pause * 2).min(AT_MOST);
            }
        }
    }
}

struct Open {
    way: Connection,
    used: Instant,
}

fn round(
    shared: &Shared,
    connection: &mut Option<Open>,
    address: &str,
    asked: &[(Asked, u64)],
    complaints: &mut Complaints,
) -> Result<Duration> {
    let usable =
        |open: &mut Open| open.way.address() == address && !open.way.is_old() && open.used.elapsed() < UNUSED;
    let way = match connection.take_if(usable) {
        Some(open) => open.way,
        None => Connection::open(address, &shared.security, CLIENT)?,
    };
    let open = connection.insert(Open { way, used: Instant::now() });
    let wanted: Vec<Asked> = asked.iter().map(|(asked, _)| *asked).collect();
    fetch(&mut open.way, &shared.topic, &shared.limits, &wanted, |answered| {
        let partition = answered.partition;
        let Some(of) = asked.iter().find(|(asked, _)| asked.partition == partition) else { return };
        if let Err(why) = shared.answered(answered, *of) {
            let topic = &shared.topic;
            complaints.say(|| {
                format!("kafka at {address} refuses partition {partition} of {topic}: {why}; retrying")
            });
        }
    })
}
