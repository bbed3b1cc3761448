//! What kinds of worlds there are, and which rule is needed against what.

use super::super::rules::Rule;
use super::checks::Category;

/// A kind of world.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) hosts: usize,
    pub(super) partitions: usize,
    /// The most events of a partition.
    pub(super) events: i64,
    pub(super) steps: u64,
    /// How often a partition is added, in a thousand steps; once at most.
    pub(super) grows: usize,
    pub(super) latest: bool,
    /// How often a bucket's life cycle takes an upload, in a thousand steps; at most 20.
    pub(super) life_cycle: usize,
    /// Complete sometimes answers 200 before it has worked.
    pub(super) early: bool,
    /// The age at which clean-up takes things.
    pub(super) clean_up: u64,
    /// Windows are closed by time.
    pub(super) flush: bool,
    /// How often a host believes to have what it has not, in a thousand.
    pub(super) greedy: usize,
    /// There is another pipeline.
    pub(super) second: bool,
    /// … which is the other shard of a pipeline with two logs.
    pub(super) shards: bool,
    /// Kafka forgets events that nobody has read.
    pub(super) retention: bool,
    /// How often a host takes a file away and brings its rows in others, in a hundred.
    pub(super) replays: usize,
    /// … rewrites an hour, and sweeps, in a hundred.
    pub(super) compacts: usize,
    /// … expires an hour.
    pub(super) expires: usize,
    /// … brings rows of a source of history.
    pub(super) backfills: usize,
    /// … erases rows of an hour.
    pub(super) erases: usize,
}

impl Variant {
    /// How often a host does one of these, in a hundred; it rewrites hours and sweeps alike often.
    pub(super) fn maintains(&self) -> usize {
        self.replays + 2 * self.compacts + self.expires + self.erases
    }
}

const PLAIN: Variant = Variant {
    name: "plain",
    hosts: 3,
    partitions: 3,
    events: 8,
    steps: 500,
    grows: 0,
    latest: false,
    life_cycle: 0,
    early: false,
    clean_up: u64::MAX,
    flush: false,
    greedy: 0,
    second: false,
    shards: false,
    retention: false,
    replays: 0,
    compacts: 0,
    expires: 0,
    backfills: 0,
    erases: 0,
};

/// What runs with every rule on.
pub(super) static VARIANTS: [Variant; 19] = [
    Variant {
        name: "everything",
        grows: 4,
        life_cycle: 6,
        early: true,
        clean_up: 25,
        flush: true,
        greedy: 100,
        ..PLAIN
    },
    Variant { name: "contended", hosts: 4, partitions: 4, flush: true, greedy: 300, ..PLAIN },
    Variant {
        name: "one-partition",
        hosts: 2,
        partitions: 1,
        events: 20,
        flush: true,
        greedy: 300,
        clean_up: 25,
        ..PLAIN
    },
    Variant {
        name: "one-host",
        hosts: 1,
        partitions: 4,
        flush: true,
        life_cycle: 6,
        clean_up: 40,
        grows: 4,
        ..PLAIN
    },
    Variant { name: "latest", latest: true, grows: 4, greedy: 200, flush: true, clean_up: 25, ..PLAIN },
    Variant { name: "first-start", hosts: 4, partitions: 2, latest: true, grows: 30, steps: 200, ..PLAIN },
    Variant { name: "life-cycle", life_cycle: 20, greedy: 200, clean_up: 60, ..PLAIN },
    Variant { name: "eager-clean-up", clean_up: 3, greedy: 200, flush: true, life_cycle: 3, ..PLAIN },
    Variant { name: "early-200", early: true, greedy: 200, life_cycle: 6, ..PLAIN },
    Variant { name: "two-pipelines", second: true, clean_up: 10, greedy: 200, ..PLAIN },
    Variant {
        name: "two-shards",
        second: true,
        shards: true,
        clean_up: 10,
        greedy: 200,
        flush: true,
        early: true,
        ..PLAIN
    },
    Variant {
        name: "replays",
        replays: 20,
        early: true,
        clean_up: 8,
        greedy: 200,
        grows: 4,
        flush: true,
        ..PLAIN
    },
    Variant { name: "compactions", compacts: 15, greedy: 200, flush: true, grows: 4, ..PLAIN },
    Variant { name: "expiries", compacts: 10, expires: 10, greedy: 200, clean_up: 8, flush: true, ..PLAIN },
    Variant {
        name: "history",
        compacts: 10,
        expires: 5,
        replays: 10,
        clean_up: 8,
        early: true,
        greedy: 200,
        flush: true,
        grows: 4,
        ..PLAIN
    },
    Variant {
        name: "erasures",
        compacts: 5,
        erases: 15,
        replays: 5,
        clean_up: 8,
        greedy: 200,
        flush: true,
        ..PLAIN
    },
    Variant {
        name: "backfills",
        backfills: 20,
        compacts: 6,
        replays: 4,
        clean_up: 8,
        early: true,
        greedy: 200,
        flush: true,
        ..PLAIN
    },
    Variant { name: "quiet-history", compacts: 20, hosts: 2, partitions: 2, events: 20, ..PLAIN },
    Variant { name: "retention", retention: true, greedy: 200, flush: true, clean_up: 25, ..PLAIN },
];

static FLUSH: Variant = Variant { name: "flush", flush: true, greedy: 300, ..PLAIN };
static CALM: Variant = Variant { name: "calm", ..PLAIN };
static FEW: Variant = Variant { name: "few", hosts: 2, partitions: 1, events: 2, steps: 200, ..PLAIN };
static LONG: Variant =
    Variant { name: "long", hosts: 2, partitions: 2, events: 20, steps: 900, greedy: 300, ..PLAIN };
static GREEDY: Variant = Variant { name: "greedy", greedy: 300, ..PLAIN };
static LATEST: Variant = Variant { name: "latest-only", latest: true, ..PLAIN };
static EARLY: Variant = Variant { name: "early-only", early: true, ..PLAIN };
static CYCLE: Variant = Variant { name: "life-cycle-only", life_cycle: 20, greedy: 200, ..PLAIN };
static CLEAN: Variant = Variant { name: "clean-up-only", clean_up: 8, greedy: 200, ..PLAIN };
static REPLAY: Variant = Variant { name: "replays-only", replays: 25, greedy: 200, events: 12, ..PLAIN };
static COMPACT: Variant = Variant { name: "compact-only", compacts: 15, greedy: 200, events: 16, ..PLAIN };
/// So few events that most hours have none in the last records: nobody registers those once more.
static FLIPS: Variant =
    Variant { name: "flips-only", hosts: 3, partitions: 1, events: 5, steps: 900, compacts: 35, ..PLAIN };
static EXPIRE: Variant =
    Variant { name: "expire-only", compacts: 10, expires: 15, greedy: 200, events: 12, ..PLAIN };
static ERASE: Variant = Variant { name: "erase-only", erases: 20, greedy: 200, events: 16, ..PLAIN };
static BACKFILL: Variant = Variant { name: "backfill-only", backfills: 30, ..PLAIN };
static SECOND: Variant = Variant { name: "second-only", second: true, clean_up: 8, ..PLAIN };

/// A rule, the world in which it is missed, and what is seen then.
pub(super) struct Needed {
    pub(super) rule: Rule,
    pub(super) variant: &'static Variant,
    pub(super) broken: &'static [Category],
}

const fn needed(rule: Rule, variant: &'static Variant, broken: &'static [Category]) -> Needed {
    Needed { rule, variant, broken }
}

/// Every rule, and what comes of switching it off.
pub(super) static NEEDED: [Needed; 33] = [
    needed(Rule::DenseSlots, &LONG, &[Category::Twice]),
    needed(Rule::CheckAgain, &GREEDY, &[Category::Twice]),
    needed(Rule::Prev, &FLUSH, &[Category::Twice]),
    needed(Rule::Hold, &CALM, &[Category::Removed]),
    needed(Rule::NextSlot, &CALM, &[Category::Abandoned]),
    needed(Rule::LoggedStart, &LATEST, &[Category::Lost]),
    needed(Rule::OwnOnly, &SECOND, &[Category::Foreign]),
    needed(Rule::HeadAfter, &EARLY, &[Category::Unseen]),
    needed(Rule::PublishBefore, &CALM, &[Category::Unseen]),
    needed(Rule::PublishEachSlot, &CLEAN, &[Category::TooEarly]),
    needed(Rule::PublishOnTake, &CALM, &[Category::Unseen]),
    needed(Rule::Owed, &FEW, &[Category::Catalog]),
    // That it is superseded twice is prevented by the next rule but one; this one saves the reading.
    needed(Rule::ReadAfterMissing, &CYCLE, &[Category::Needless]),
    needed(Rule::RepairSupersedes, &CYCLE, &[Category::Twice]),
    needed(Rule::StateWithOffsets, &CALM, &[Category::Memory]),
    needed(Rule::CountAll, &CALM, &[Category::Counts]),
    needed(Rule::Fence, &CLEAN, &[Category::Removed]),
    needed(Rule::VictimsEachSlot, &CLEAN, &[Category::Removed]),
    needed(Rule::MaintenanceChain, &CLEAN, &[Category::Left]),
    needed(Rule::SupersedeLive, &CYCLE, &[Category::Twice]),
    needed(Rule::SupersedeLive, &REPLAY, &[Category::Twice]),
    needed(Rule::RememberTaken, &REPLAY, &[Category::Twice, Category::Needless]),
    // Two compactions of the same files; a file of an hour that readers see elsewhere by now.
    needed(Rule::Generation, &COMPACT, &[Category::Lost]),
    needed(Rule::HourUnchanged, &COMPACT, &[Category::Lost]),
    needed(Rule::HourUnchanged, &EXPIRE, &[Category::Lost]),
    needed(Rule::HourUnchanged, &ERASE, &[Category::Lost]),
    needed(Rule::CarryLate, &ERASE, &[Category::Lost]),
    needed(Rule::Reconcile, &FLIPS, &[Category::Catalog, Category::Lost]),
    needed(Rule::KeepOld, &COMPACT, &[Category::Hidden]),
    needed(Rule::MaintenanceChain, &COMPACT, &[Category::Unseen]),
    // Two bring the same rows, which neither has claimed, or whose claim was taken for run out.
    needed(Rule::Covered, &BACKFILL, &[Category::Twice]),
    needed(Rule::AbortThenDelete, &CLEAN, &[Category::Left]),
    needed(Rule::LaneFiles, &GREEDY, &[Category::Twice]),
];
