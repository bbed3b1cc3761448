use super::*;
use crate::observe::health::Check;
use crate::observe::{About, At, LastCommit};

const SECOND: Micros = 1_000_000;
/// When the host started, and when it is looked at.
const BEGUN: Micros = 0;
const NOW: Micros = 1_000 * SECOND;

fn bounds() -> Bounds {
    Bounds { freshness: Duration::from_secs(10), lag: None, silence: None, asked: false }
}

/// A partition with so many events waiting, committed so many seconds ago.
fn partition(lag: Option<u64>, ago: Micros, freshness_ms: i64) -> PartitionStatus {
    PartitionStatus {
        set: Some(5),
        committed: Some(100),
        end: lag.map(|lag| 100 + i64::try_from(lag).unwrap()),
        lag,
        last_commit: Some(At(NOW - ago * SECOND)),
        freshness_ms: Some(freshness_ms),
        ..PartitionStatus::default()
    }
}

fn status(partitions: &[PartitionStatus]) -> Status {
    let newest = partitions.iter().filter_map(|one| one.last_commit).max();
    Status {
        at: At(NOW),
        host: About { pid: 4711, started: At(BEGUN), ..About::default() },
        set: Some(5),
        partitions: (0..).zip(partitions.iter().cloned()).collect(),
        last_commit: newest.map(|at| LastCommit { at, ..LastCommit::default() }),
        ..Status::default()
    }
}

/// The waits of somebody who has looked at this so many seconds ago.
fn looked(status: &Status, ago: Micros) -> Waits {
    let mut waits = Waits::default();
    waits.note(&Status { at: At(NOW - ago * SECOND), ..status.clone() });
    waits.note(status);
    waits
}

/// The kinds of alarms, and whether there are doubts.
fn of(status: &Status, waits: &Waits, bounds: &Bounds) -> (Vec<Kind>, bool) {
    let verdict = judge(status, None, waits, bounds, false);
    (verdict.alarms.iter().map(|alarm| alarm.kind).collect(), verdict.doubts)
}

#[test]
fn an_idle_topic_is_fresh_however_old_its_last_commit_is() {
    let idle = status(&[partition(Some(0), 900, 90_000), partition(Some(0), 3, 800)]);
    assert_eq!(of(&idle, &looked(&idle, 600), &bounds()), (vec![], false));
}

#[test]
fn events_that_came_since_a_fresh_commit_are_no_alarm_and_no_doubt() {
    let busy = status(&[partition(Some(7_000), 4, 5_500)]);
    assert_eq!(of(&busy, &Waits::default(), &bounds()), (vec![], false));
}

#[test]
fn an_event_after_a_long_silence_is_a_doubt_until_it_has_waited_too_long() {
    let one = status(&[partition(Some(0), 3, 100), partition(Some(1), 600, 1_000)]);
    assert_eq!(of(&one, &looked(&one, 0), &bounds()), (vec![], true));
    assert_eq!(of(&one, &looked(&one, 10), &bounds()), (vec![], true));
    assert_eq!(of(&one, &looked(&one, 11), &bounds()), (vec![Kind::Freshness], false));
    let verdict = judge(&one, None, &looked(&one, 11), &bounds(), false);
    let alarm = &verdict.alarms[0];
    assert_eq!((alarm.partition, alarm.process), (Some(1), Some(4711)));
    assert_eq!(alarm.what, "events of partition 1 wait for at least 11.0 s (bound 10.0 s)");
}

#[test]
fn what_stays_in_doubt_counts_when_it_is_to_be_settled() {
    let one = status(&[partition(Some(1), 600, 1_000)]);
    let settled = judge(&one, None, &looked(&one, 5), &bounds(), true);
    assert_eq!(settled.alarms[0].what, "events of partition 0 wait for perhaps 10m1s (bound 10.0 s)");
    assert!(!settled.doubts);
    let fine = status(&[partition(Some(1), 2, 1_000)]);
    assert!(judge(&fine, None, &looked(&fine, 5), &bounds(), true).alarms.is_empty());
}

#[test]
fn a_partition_that_never_had_a_commit_is_a_doubt_if_events_wait() {
    let never = |lag| PartitionStatus { last_commit: None, freshness_ms: None, ..partition(Some(lag), 0, 0) };
    let waiting = status(&[never(3)]);
    assert_eq!(of(&waiting, &looked(&waiting, 1), &bounds()), (vec![], true));
    assert_eq!(of(&waiting, &looked(&waiting, 20), &bounds()), (vec![Kind::Freshness], false));
    let empty = status(&[never(0)]);
    assert_eq!(of(&empty, &looked(&empty, 20), &bounds()), (vec![], false));
}

#[test]
fn many_partitions_that_are_late_are_one_alarm_that_names_the_worst() {
    let mut late =
        status(&[partition(Some(1), 600, 0), partition(Some(1), 600, 0), partition(Some(1), 600, 0)]);
    let mut waits = Waits::default();
    late.partitions.get_mut(&2).unwrap().lag = Some(0);
    waits.note(&Status { at: At(NOW - 30 * SECOND), ..late.clone() });
    late.partitions.get_mut(&2).unwrap().lag = Some(1);
    waits.note(&Status { at: At(NOW - 12 * SECOND), ..late.clone() });
    let alarms = judge(&late, None, &waits, &bounds(), false).alarms;
    let wanted = "events of partition 1 wait for at least 30.0 s (bound 10.0 s), and those of 2 more partitions too long";
    assert_eq!(alarms.iter().map(|alarm| alarm.what.as_str()).collect::<Vec<_>>(), [wanted]);
}

#[test]
fn lag_counts_over_all_partitions_and_only_if_somebody_asked() {
    let two = status(&[partition(Some(60), 1, 0), partition(Some(50), 1, 0)]);
    assert_eq!(of(&two, &Waits::default(), &bounds()).0, []);
    let over = Bounds { lag: Some(109), asked: true, ..bounds() };
    assert_eq!(of(&two, &Waits::default(), &over).0, [Kind::Lag]);
    let at = Bounds { lag: Some(110), asked: true, ..bounds() };
    assert_eq!(of(&two, &Waits::default(), &at).0, []);
    let alarm = judge(&two, None, &Waits::default(), &over, false).alarms.remove(0);
    assert_eq!((alarm.what.as_str(), alarm.partition), ("110 events wait (bound 109)", Some(0)));
}

#[test]
fn silence_is_an_alarm_even_if_nothing_waits_but_not_of_a_host_without_partitions() {
    let quiet = Bounds { silence: Some(Duration::from_secs(60)), ..bounds() };
    let idle = status(&[partition(Some(0), 61, 0)]);
    assert_eq!(of(&idle, &looked(&idle, 0), &quiet), (vec![Kind::Silence], false));
    assert_eq!(of(&status(&[partition(Some(0), 59, 0)]), &Waits::default(), &quiet).0, []);
    let never = PartitionStatus { last_commit: None, ..partition(Some(0), 0, 0) };
    assert_eq!(of(&status(&[never]), &Waits::default(), &quiet).0, [Kind::Silence]);
    assert_eq!(of(&status(&[]), &Waits::default(), &quiet).0, []);
}

#[test]
fn each_line_that_needs_a_person_is_an_alarm() {
    let ill = Status {
        attention: vec!["partition 0 stands still: trapped".into(), "broken.wasm was not taken in".into()],
        ..status(&[partition(Some(0), 1, 0)])
    };
    let alarms = judge(&ill, None, &Waits::default(), &bounds(), false).alarms;
    assert_eq!(alarms.len(), 2);
    assert_eq!(
        (alarms[0].kind, alarms[0].what.as_str()),
        (Kind::Attention, "partition 0 stands still: trapped")
    );
}

#[test]
fn a_host_may_start_for_a_minute() {
    let starting = |up| Status {
        set: None,
        host: About { started: At(NOW - up * SECOND), ..About::default() },
        ..status(&[])
    };
    assert_eq!(of(&starting(60), &Waits::default(), &bounds()), (vec![], false));
    assert_eq!(of(&starting(61), &Waits::default(), &bounds()), (vec![Kind::Starting], false));
}

#[test]
fn brokers_that_are_silent_are_a_doubt_and_then_an_alarm() {
    let unknown = status(&[partition(None, 1, 0), partition(Some(0), 1, 0)]);
    assert_eq!(of(&unknown, &looked(&unknown, 4), &bounds()), (vec![], true));
    assert_eq!(of(&unknown, &looked(&unknown, 5), &bounds()), (vec![Kind::Unknown], false));
}

#[test]
fn a_zone_that_does_not_answer_is_a_doubt_and_then_an_alarm_but_not_at_the_start() {
    let check = Check { name: "storage".into(), ok: false, what: "cannot reach s3://b".into() };
    let shut = Status { checks: vec![check], ..status(&[partition(Some(0), 1, 0)]) };
    assert_eq!(of(&shut, &looked(&shut, 4), &bounds()), (vec![], true));
    assert_eq!(of(&shut, &looked(&shut, 5), &bounds()), (vec![Kind::Storage], false));
    let starts = Status { set: None, host: About { started: At(NOW), ..About::default() }, ..shut };
    assert_eq!(of(&starts, &looked(&starts, 5), &bounds()), (vec![], false));
}

#[test]
fn of_the_lake_alone_brokers_matter_only_if_somebody_asked_for_what_they_know() {
    let unknown = status(&[partition(None, 1, 0)]);
    let lake = Facts { silent: Some("nobody is there".into()), ..Facts::default() };
    let kinds = |bounds: &Bounds| {
        let verdict = judge(&unknown, Some(&lake), &looked(&unknown, 6), bounds, false);
        verdict.alarms.iter().map(|alarm| (alarm.kind, alarm.what.clone())).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&bounds()), []);
    let what = "how many events wait is not known: nobody is there".to_owned();
    assert_eq!(kinds(&Bounds { asked: true, ..bounds() }), [(Kind::Unknown, what)]);
}

#[test]
fn in_the_lake_what_waits_is_no_older_than_the_newest_event_in_it() {
    let waiting = status(&[partition(Some(5), 600, 0)]);
    let newest = |ago: Micros| Facts { newest: [(0, NOW - ago * SECOND)].into(), ..Facts::default() };
    let doubts = |lake: &Facts| judge(&waiting, Some(lake), &looked(&waiting, 0), &bounds(), false).doubts;
    assert!(!doubts(&newest(9)) && doubts(&newest(11)) && doubts(&Facts::default()));
    let verdict = judge(&waiting, Some(&newest(600)), &looked(&waiting, 11), &bounds(), false);
    assert_eq!((verdict.alarms[0].kind, verdict.alarms[0].process), (Kind::Freshness, None));
    let never = Status { last_commit: None, ..status(&[]) };
    let quiet = Bounds { silence: Some(Duration::from_secs(60)), ..bounds() };
    let alarms = judge(&never, Some(&newest(1)), &Waits::default(), &quiet, false).alarms;
    assert_eq!(alarms[0].what, "nothing was committed ever (bound 1m0s)");
}
