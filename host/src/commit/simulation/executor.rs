//! The scheduler: one thread, one operation at a time, in an order that only the seed decides.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::rules::Rule;
use super::audit::audit;
use super::checks::{Category, Violation};
use super::host::live;
use super::process::Process;
use super::variants::Variant;
use super::world::World;
use crate::Result;

/// Steps after which the last host must have finished.
const PATIENCE: u64 = 20_000;

/// What came of a run.
pub(super) struct Report {
    pub(super) violation: Option<Violation>,
    pub(super) fired: BTreeMap<&'static str, u64>,
    pub(super) steps: u64,
}

type Life = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A host's life, running.
struct Running {
    process: Process,
    life: Life,
}

/// A run.
struct Run {
    world: Arc<World>,
    hosts: Vec<Running>,
    zombies: Vec<Running>,
    numbers: usize,
}

/// Runs one seed. `watched`: the only kinds of violations that end it.
pub(super) fn run(
    seed: u64,
    variant: &'static Variant,
    off: Option<Rule>,
    watched: &'static [Category],
    told: bool,
) -> Report {
    let world = Arc::new(World::new(seed, variant, off, told));
    world.state().watched = watched;
    let mut run = Run { world: world.clone(), hosts: vec![], zombies: vec![], numbers: 0 };
    for host in 0..variant.hosts {
        let host = run.begin(0, host);
        run.hosts.push(host);
    }
    if variant.second {
        let host = run.begin(1, 0);
        run.hosts.push(host);
    }
    while run.world.state().step < variant.steps && !run.over() {
        run.something();
    }
    run.quiet();
    // Futures are dropped without the world's lock: they take their turns back.
    drop(run);
    let mut state = world.state();
    Report { violation: state.violation.take(), fired: std::mem::take(&mut state.fired), steps: state.step }
}

impl Run {
    fn over(&self) -> bool {
        self.world.state().violation.is_some()
    }

    fn process(&mut self, pipeline: usize, host: usize) -> Process {
        self.numbers += 1;
        Process { world: self.world.clone(), pipeline, host, number: self.numbers }
    }

    fn begin(&mut self, pipeline: usize, host: usize) -> Running {
        let process = self.process(pipeline, host);
        Running { life: Box::pin(live(process.clone(), false)), process }
    }

    fn below(&self, n: usize) -> usize {
        self.world.state().random.below(n)
    }

    /// One thing happens: in the world, or to a host, or a host does something.
    fn something(&mut self) {
        let variant = self.world.state().variant;
        self.world.state().step += 1;
        match self.below(1000) {
            0..30 => self.rebalance(),
            30..100 => self.event(),
            100..110 => {
                let at = self.below(self.hosts.len());
                let Process { pipeline, host, .. } = self.hosts[at].process;
                self.hosts[at] = self.begin(pipeline, host);
                self.fire("crash");
            }
            110..125 => {
                let at = self.below(self.hosts.len());
                let Process { pipeline, host, .. } = self.hosts[at].process;
                let next = self.begin(pipeline, host);
                self.zombies.push(std::mem::replace(&mut self.hosts[at], next));
                self.fire("zombie");
            }
            125..150 => {
                let steps = 1 + self.below(12);
                if !self.zombies.is_empty() {
                    let at = self.below(self.zombies.len());
                    for _ in 0..steps {
                        if self.over() || !step(&mut self.zombies[at]) {
                            break;
                        }
                        self.world.state().step += 1;
                    }
                }
            }
            150..170 => self.land(),
            x if x < 170 + variant.life_cycle => self.world.state().expire(),
            x if (200..200 + variant.grows).contains(&x) => self.grow(),
            190..200 if !self.world.state().rules.on(Rule::DenseSlots) => self.world.state().truncate(),
            _ => {
                let at = self.below(self.hosts.len());
                if !step(&mut self.hosts[at]) {
                    let Process { pipeline, host, .. } = self.hosts[at].process;
                    self.hosts[at] = self.begin(pipeline, host);
                }
            }
        }
    }

    fn fire(&self, what: &'static str) {
        let mut state = self.world.state();
        state.fire(what);
        state.tell(|| what.into());
    }

    fn rebalance(&self) {
        let mut state = self.world.state();
        let hosts = state.variant.hosts;
        let count = state.pipelines[0].owner.len();
        let (p, host) = (state.random.below(count), state.random.below(hosts));
        state.pipelines[0].owner[p] = host;
        state.fire("rebalance");
    }

    /// Kafka takes an event, or forgets some.
    fn event(&self) {
        let mut state = self.world.state();
        let most = state.variant.events;
        let count = state.pipelines.len();
        let pipeline = state.random.below(count);
        let count = state.pipelines[pipeline].ends.len();
        let p = state.random.below(count);
        if state.variant.retention && state.random.chance(100) {
            let (low, high) = state.pipelines[pipeline].ends[p];
            state.pipelines[pipeline].ends[p].0 = high.min(low + 3);
            state.fire("offsets gone");
        } else {
            let end = &mut state.pipelines[pipeline].ends[p].1;
            *end = most.min(*end + 1);
        }
    }

    /// The topic gets a partition.
    fn grow(&self) {
        let mut state = self.world.state();
        let (variant, count) = (state.variant, state.pipelines[0].ends.len());
        if count <= variant.partitions {
            let owner = state.random.below(variant.hosts);
            state.pipelines[0].ends.push((0, 0));
            state.pipelines[0].owner.push(owner);
            state.fire("partition added");
        }
    }

    /// A late request lands.
    fn land(&self) {
        let mut state = self.world.state();
        if !state.late.is_empty() {
            let count = state.late.len();
            let at = state.random.below(count);
            let request = state.late.swap_remove(at);
            state.tell(|| "a late request lands".into());
            state.perform(request);
        }
    }

    /// Nothing goes wrong any more: what is under way ends somehow, and one host for each pipeline finishes.
    fn quiet(&mut self) {
        self.world.state().faults = false;
        self.world.state().tell(|| "from now on nothing goes wrong".into());
        let mut left: Vec<Running> = std::mem::take(&mut self.zombies);
        left.append(&mut self.hosts);
        let mut later = Vec::new();
        while !self.over() && (!left.is_empty() || !self.world.state().late.is_empty()) {
            let late = self.world.state().late.len();
            let at = self.below(left.len() + late);
            if at >= left.len() {
                self.land();
                continue;
            }
            let mut running = left.swap_remove(at);
            let steps = [0, 0, 5, 40][self.below(4)];
            self.steps(&mut running, steps);
            if self.below(3) == 0 {
                later.push(running);
            }
        }
        self.finish();
        // Some come back from the dead only now.
        for mut running in later {
            let steps = [5, 20, 80][self.below(3)];
            self.steps(&mut running, steps);
        }
        self.finish();
        let pipelines = self.world.state().pipelines.len();
        for pipeline in 0..pipelines {
            let process = self.process(pipeline, 98);
            let life = Box::pin(audit(process.clone()));
            self.to_the_end(Running { process, life });
        }
    }

    fn steps(&self, running: &mut Running, steps: usize) {
        for _ in 0..steps {
            if self.over() || !step(running) {
                break;
            }
            self.world.state().step += 1;
        }
    }

    fn finish(&mut self) {
        let pipelines = self.world.state().pipelines.len();
        for pipeline in 0..pipelines {
            let process = self.process(pipeline, 99);
            let life = Box::pin(live(process.clone(), true));
            self.to_the_end(Running { process, life });
        }
    }

    fn to_the_end(&self, mut running: Running) {
        for _ in 0..PATIENCE {
            if self.over() || !step(&mut running) {
                return;
            }
            self.world.state().step += 1;
        }
        self.world.state().violate(Category::Stuck, "the last host does not come to an end");
    }
}

/// Lets a host do one operation. False: its life is over.
fn step(running: &mut Running) -> bool {
    let number = running.process.number;
    let world = running.process.world.clone();
    let waker = {
        let mut state = world.state();
        let mine: Vec<usize> =
            (0..state.waiting.len()).filter(|at| state.waiting[*at].process == number).collect();
        match mine.is_empty() {
            // It has not begun yet.
            true => None,
            false => {
                let at = mine[state.random.below(mine.len())];
                state.granted = Some(state.waiting[at].turn);
                state.tell(|| format!("host {} ({number})", running.process.host));
                Some(state.waiting[at].waker.clone())
            }
        }
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    let done = match running.life.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(done) => Some(done),
    };
    let mut state = world.state();
    assert!(state.granted.is_none(), "a turn was granted and not taken");
    match done {
        None => {
            let waits = state.waiting.iter().any(|waiting| waiting.process == number);
            assert!(waits, "a host waits for something that is not the world's");
            true
        }
        Some(Ok(())) => false,
        Some(Err(e)) => {
            state.tell(|| format!("host {} ({number}) ends: {e}", running.process.host));
            state.violate(Category::Stopped, e.to_string());
            false
        }
    }
}
