use super::super::samples::{NOW, SECOND, bounds, busy, host, lake};
use super::*;

fn model() -> Model {
    Model::new(bounds(), false, "looked in /run/tidemill".into())
}

fn hosts(model: &mut Model, second: i64, pids: &[u32]) {
    let at = NOW + second * SECOND;
    let found = pids.iter().map(|pid| host(*pid, Ok(busy(3)))).collect();
    model.take(Look::Hosts(at, found));
}

#[test]
fn a_host_that_goes_is_told_and_one_that_comes_takes_its_place() {
    let mut model = model();
    assert!(model.view(NOW).notes[0].starts_with("looking for hosts"));
    hosts(&mut model, 0, &[7]);
    assert!(model.view(NOW).title.contains("process 7,") && !model.wants_lake());

    hosts(&mut model, 3, &[]);
    let view = model.view(NOW + 15 * SECOND);
    assert!(
        view.title.contains("process 7,") && view.alarms[0].contains("the host is gone"),
        "{:?}",
        view.alarms
    );
    assert!(view.alarms[0].contains("12s ago") && view.notes[0].contains("no host runs here"), "{view:?}");
    assert!(model.wants_lake() && model.around.tabs == ["tidemill 7 (gone)", "lake"]);

    hosts(&mut model, 20, &[8]);
    let view = model.view(NOW + 20 * SECOND);
    assert!(view.title.contains("process 8,") && view.alarms.is_empty() && view.notes.is_empty(), "{view:?}");
    assert_eq!(model.around.tabs, ["tidemill 8", "lake"]);
    assert!(!model.wants_lake());
}

#[test]
fn a_host_that_does_not_answer_is_an_alarm_and_what_it_said_last_stays() {
    let mut model = model();
    hosts(&mut model, 0, &[7]);
    model.take(Look::Hosts(NOW + SECOND, vec![host(7, Err("no answer within 5s".into()))]));
    let view = model.view(NOW + SECOND);
    assert_eq!(view.alarms, ["process 7 does not answer: no answer within 5s"]);
    assert!(!view.sections.is_empty());
    hosts(&mut model, 2, &[7]);
    assert_eq!(model.view(NOW + 2 * SECOND).alarms, Vec::<String>::new());
}

#[test]
fn where_no_host_runs_the_lake_is_shown_until_one_comes() {
    let mut model = model();
    hosts(&mut model, 0, &[]);
    assert!(model.wants_lake());
    assert!(model.view(NOW).notes.iter().any(|note| note.contains("reading the log")));
    model.take(Look::Lake(Err("the bucket does not exist".into())));
    assert_eq!(model.view(NOW).alarms, ["the lake cannot be read: the bucket does not exist"]);
    model.take(Look::Lake(Ok(Box::new(lake()))));
    let view = model.view(NOW);
    assert!(view.title.starts_with("lake of pipeline tidemill") && view.alarms.is_empty(), "{view:?}");
    hosts(&mut model, 1, &[9]);
    assert!(model.view(NOW).title.contains("process 9,"), "it was not chosen, so the host is shown");
}

#[test]
fn who_chose_the_lake_keeps_it_when_hosts_come() {
    let mut model = model();
    hosts(&mut model, 0, &[7]);
    model.press(Key::Before);
    assert!(model.wants_lake() && model.selected().process.is_none());
    hosts(&mut model, 1, &[7, 8]);
    assert!(model.selected().process.is_none());
    model.press(Key::Next);
    assert_eq!(model.selected().process, Some(7));
    model.press(Key::Next);
    assert_eq!(model.selected().process, Some(8));
}

#[test]
fn the_lake_alone_asks_for_no_hosts() {
    let mut model = Model::new(bounds(), true, String::new());
    assert!(model.wants_lake());
    model.take(Look::Lake(Ok(Box::new(lake()))));
    let view = model.view(NOW);
    assert!(view.title.starts_with("lake of") && view.notes.is_empty());
}

#[test]
fn a_held_picture_does_not_change() {
    let mut model = model();
    hosts(&mut model, 0, &[7]);
    model.press(Key::Pause);
    hosts(&mut model, 1, &[]);
    assert!(model.view(NOW).alarms.is_empty());
    model.press(Key::Pause);
    hosts(&mut model, 2, &[]);
    assert_eq!(model.view(NOW).alarms.len(), 1);
}

#[test]
fn keys_scroll_explain_and_end() {
    let mut model = model();
    model.page(10);
    for (key, scroll) in [(Key::Up, 0), (Key::Down, 1), (Key::PageDown, 11), (Key::PageUp, 1), (Key::Top, 0)]
    {
        model.press(key);
        assert_eq!(model.around.scroll, scroll, "{key:?}");
    }
    model.press(Key::Help);
    model.press(Key::Escape);
    assert!(!model.over && !model.around.help);
    model.press(Key::Escape);
    assert!(model.over);
}

#[test]
fn hosts_that_are_gone_are_not_remembered_for_ever() {
    let mut model = model();
    for pid in 0..100 {
        let mut other = busy(1);
        other.host.pipeline = format!("pipeline-{pid}");
        model.take(Look::Hosts(NOW, vec![host(pid, Ok(other))]));
    }
    assert_eq!(model.subjects.len(), GONE + 2);
    assert!(model.view(NOW).title.contains("process "));
}
