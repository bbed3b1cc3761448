//! Virtual time: it passes only when nobody has anything left to do.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::env::Micros;

/// Somebody's life, to be run.
pub(super) type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Times {
    now: Micros,
    numbers: u64,
    /// Who waits, and until when; two that wait for the same moment go on in the order in which they came.
    waiting: BTreeMap<(Micros, u64), Waker>,
}

/// A clock that stands still until it is told to go on.
#[derive(Default)]
pub(super) struct Clock(Mutex<Times>);

impl Clock {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Micros {
        self.times().now
    }

    pub(super) fn until(self: &Arc<Self>, at: Micros) -> Sleep {
        Sleep { clock: self.clone(), at, number: None }
    }

    pub(super) fn sleep(self: &Arc<Self>, time: Micros) -> Sleep {
        self.until(self.now() + time)
    }

    /// Goes on to the next moment for which somebody waits, if it is not past the end.
    fn advance(&self, end: Micros) -> bool {
        let mut times = self.times();
        match times.waiting.pop_first() {
            Some(((at, _), waker)) if at <= end => {
                times.now = at.max(times.now);
                waker.wake();
                true
            }
            _ => false,
        }
    }
}

/// Ready at its moment.
pub(super) struct Sleep {
    clock: Arc<Clock>,
    at: Micros,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut times = clock.times();
        if times.now >= self.at {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            times.numbers += 1;
            times.numbers
        });
        times.waiting.insert((self.at, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.clock.times().waiting.remove(&(self.at, number));
        }
    }
}

/// Wakes one life.
struct Bell {
    life: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.lock().expect("no panic").push_back(self.life);
    }
}

/// Runs lives side by side until all are over, or until the end.
pub(super) fn run(clock: &Clock, mut lives: Vec<Life>, end: Micros) {
    let ready = Arc::new(Mutex::new((0..lives.len()).collect::<VecDeque<usize>>()));
    let bell = |life| Waker::from(Arc::new(Bell { life, ready: ready.clone() }));
    let bells: Vec<Waker> = (0..lives.len()).map(bell).collect();
    let mut over = vec![false; lives.len()];
    loop {
        let next = ready.lock().expect("no panic").pop_front();
        match next {
            Some(life) if over[life] => {}
            Some(life) => {
                let polled = lives[life].as_mut().poll(&mut Context::from_waker(&bells[life]));
                over[life] = polled.is_ready();
            }
            None if clock.advance(end) => {}
            None => return,
        }
    }
}
