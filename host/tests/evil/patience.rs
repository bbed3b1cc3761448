//! Care finds the rows that a transform hangs on, and none that it is only slow with.

use tidemill::batch::Outcome;
use tidemill::decode::Decoder;
use tidemill::transform::Component;
use tidemill::transform::run::Runner;

use super::support::{EVENTS, LONG, POISON, SHORT, delivered, engine, events, plan, told};

/// What becomes of two batches in a careful run that knows what a row takes.
fn careful(package: &tidemill::transform::Package) -> Vec<Outcome> {
    let graph = plan(vec![Component::load(engine(), package).unwrap()]).unwrap();
    let mut runner = Runner::open(&graph, 0, &[]).unwrap();
    runner.careful(true);
    let mut decoder = Decoder::new(graph.fields(), 1 << 20);
    // Twenty batches: what the slow row takes of the mean is little.
    for batch in 0..20 {
        runner.batch(&decoder.decode(events(batch * 1000, None))).unwrap();
    }
    [20_000, 21_000].map(|first| runner.batch(&decoder.decode(delivered(first))).unwrap()).into()
}

fn rows(outcome: &Outcome) -> usize {
    outcome.rows.iter().map(|rows| rows.batch.num_rows()).sum()
}

#[test]
fn a_row_that_is_only_slow_goes_through() {
    for outcome in careful(&told("slow_on_value", LONG)) {
        let reasons: Vec<&str> = outcome.rejects.iter().map(|reject| &*reject.reason).collect();
        assert_eq!((rows(&outcome), reasons), (EVENTS, vec![]));
    }
}

#[test]
fn a_row_that_never_ends_is_rejected() {
    let mut package = told("loop_in_process", SHORT);
    let sidecar = package.sidecar.take().unwrap().replace("[limits]", "on = \"/poison\"\n[limits]");
    package.sidecar = Some(sidecar);
    for outcome in careful(&package) {
        assert_eq!((rows(&outcome), outcome.rejects.len()), (EVENTS - 1, 1));
        assert_eq!(&*outcome.rejects[0].reason, "poison: took too long");
        assert_eq!(outcome.rejects[0].row as usize, POISON);
    }
}
