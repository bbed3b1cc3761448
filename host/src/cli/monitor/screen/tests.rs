use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::super::model::Subject;
use super::super::samples::{NOW, bounds, busy, lake};
use super::*;
use crate::observe::Status;

fn subject(status: Status) -> Subject {
    let mut subject = Subject::host(4711);
    subject.says(Ok((status, None)));
    subject
}

fn view(status: Status) -> View {
    subject(status).view(&bounds(), NOW, false)
}

fn drawn(view: &View, around: &mut Frames, width: u16, height: u16, coloured: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let draw = |frame: &mut Frame<'_>| {
        draw(frame, view, around, Palette { coloured });
    };
    terminal.draw(draw).unwrap();
    terminal.backend().buffer().clone()
}

/// What is to be read, a string a line.
fn read(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width).max(1);
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    buffer.content.chunks(width).map(line).collect()
}

fn shown(view: &View, width: u16, height: u16) -> Vec<String> {
    read(&drawn(view, &mut Frames::default(), width, height, false))
}

#[test]
fn a_host_fits_on_80_by_24() {
    let mut status = busy(3);
    status.attention = vec!["partition 1 stands still: transform activity_per_minute trapped\x1b[2J".into()];
    let lines = shown(&view(status), 80, 24);
    println!("{}", lines.join("\n"));
    let wanted = [
        " pipeline tidemill, topic user-events, process 4711, up 3h1m, host ho",
        "! partition 1 stands still: transform activity_per_minute trapped [2J",
        "events/s 2000",
        "partitions",
        "partition  state  committed    end  lag  freshness  last commit  lane  set",
        "        2  runs       40002  40004    2      1.2 s       2s ago     0    5",
        "transforms, of record 5 (transforms)",
        "activity_per_minute  0.1.0    stands still    59000        0",
        "last error of clean, 1m15s ago, partition 1: trapped [2J",
        "rejects since the start: 1493",
        "q quit  tab next  up/down scroll  p pause  ? help",
    ];
    let mut at = 0;
    for wanted in wanted {
        let found = lines[at..].iter().position(|line| line.contains(wanted.trim_end()));
        at += found.unwrap_or_else(|| panic!("{wanted:?} is missing or too early"));
    }
    assert_eq!(lines.len(), 24);
    assert!(
        lines[0].ends_with(" 1 ALARM") && lines[2].contains("freshness 5.2 s") && lines[2].contains("lag 3")
    );
    assert!(lines[3..5].concat().contains('█'), "no graphs: {:?}", &lines[3..5]);
    assert!(lines.iter().any(|line| line.contains("812 ns")));
}

#[test]
fn a_wide_terminal_shows_all_columns_side_by_side() {
    let lines = shown(&view(busy(3)), 260, 40);
    println!("{}", lines.join("\n"));
    let head = lines.iter().find(|line| line.contains("partitions")).unwrap();
    assert!(head.contains("transforms, of record 5"), "{head}");
    let text = lines.join("\n");
    for wanted in
        ["digest", "4b3accc834dd", "absorbed", "it is not valid JSON: it ends too early", "took", "1.5 MiB"]
    {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(lines.iter().filter(|line| line.contains("10000")).count() >= 20, "commits are shown: {text}");
}

#[test]
fn what_does_not_fit_is_reached_by_scrolling_and_no_further_than_the_end() {
    let (view, mut around) = (view(busy(100)), Frames::default());
    assert!(!read(&drawn(&view, &mut around, 80, 24, false)).iter().any(|line| line.contains("40099")));
    around.scroll = 90;
    assert!(read(&drawn(&view, &mut around, 80, 24, false)).iter().any(|line| line.contains("40099")));
    around.scroll = usize::MAX;
    let end = read(&drawn(&view, &mut around, 80, 24, false));
    println!("{}", end.join("\n"));
    assert!(
        end[22].trim_start().starts_with("81") && around.scroll < 200,
        "the oldest of 20 commits is last"
    );
}

#[test]
fn more_alarms_than_there_is_room_for_stand_whole_below() {
    let mut status = busy(1);
    let long = "partition 0 stands still, and the reason is long: ".to_owned() + &"word ".repeat(60);
    status.attention = (0..9).map(|n| format!("{n} {long}")).collect();
    let (view, mut around) = (view(status), Frames::default());
    let first = read(&drawn(&view, &mut around, 80, 24, false));
    assert!(first[0].ends_with(" 9 ALARMS"), "{:?}", first[0]);
    assert!(first[6].starts_with("! … scroll: all of it stands below"), "{first:?}");
    let mut all = Vec::new();
    for scroll in 0..60 {
        around.scroll = scroll;
        all.extend(read(&drawn(&view, &mut around, 80, 24, false)));
    }
    assert!((0..9).all(|n| all.iter().any(|line| line.starts_with(&format!("! {n} partition 0")))));
}

#[test]
fn colours_are_used_only_if_they_are_wanted() {
    let mut status = busy(3);
    status.attention = vec!["broken.wasm was not taken in".into()];
    let view = view(status);
    let colours = |coloured| {
        let buffer = drawn(&view, &mut Frames::default(), 80, 24, coloured);
        buffer.content.iter().filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset)).count()
    };
    assert!(colours(true) > 50);
    assert_eq!(colours(false), 0);
}

#[test]
fn the_lake_alone_is_shown_with_its_log() {
    let (status, facts) = lake();
    let mut subject = Subject::default();
    subject.says(Ok((status, Some(facts))));
    let lines = shown(&subject.view(&bounds(), NOW, false), 100, 30);
    println!("{}", lines.join("\n"));
    let text = lines.join("\n");
    for wanted in [
        "lake of pipeline tidemill, topic user-events, /lake/processed/_tidemill/tidemill/log/",
        "newest event 3.0 s",
        "101 records in the log",
        "        1      40001  40002    1           97       2s ago      1m4s ago",
        "transforms in the log's set, of record 5, 2h0m ago",
        "epoch",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(!text.contains("rejects"));
}

#[test]
fn help_and_pause_are_seen() {
    let (view, mut around) = (view(busy(3)), Frames { help: true, paused: true, ..Frames::default() });
    let lines = read(&drawn(&view, &mut around, 80, 24, false));
    assert!(lines[0].ends_with(" PAUSED"), "{:?}", lines[0]);
    assert!(lines.iter().any(|line| line.starts_with("p, space")));
    assert!(!lines.iter().any(|line| line.starts_with("partitions")));
}

#[test]
fn the_tab_that_is_shown_is_always_to_be_seen() {
    let tabs: Vec<String> = (0..30).map(|n| format!("tidemill {n}")).chain(["lake".into()]).collect();
    let view = view(busy(3));
    for selected in 0..tabs.len() {
        let mut around = Frames { tabs: tabs.clone(), selected, ..Frames::default() };
        let lines = read(&drawn(&view, &mut around, 40, 24, false));
        assert!(lines[1].contains(&format!(" {}", tabs[selected])), "{selected}: {:?}", lines[1]);
    }
}

#[test]
fn the_smallest_terminals_are_drawn_too() {
    let view = view(busy(3));
    for (width, height) in (1..=14).flat_map(|width| (1..=14).map(move |height| (width, height))) {
        let lines = shown(&view, width, height);
        assert_eq!(lines.len(), usize::from(height), "{width} by {height}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_size_is_drawn(
        width in 1u16..230, height in 1u16..70, partitions in 0i32..90, alarms in 0usize..7,
        scroll in prop_oneof![Just(0usize), 0usize..200, Just(usize::MAX)], tabs in 0usize..5,
        word in "\\PC{0,30}", help: bool, whole: bool,
    ) {
        let mut status = busy(partitions);
        status.attention = vec![format!("{word} and {word}"); alarms];
        status.transforms[0].name = word.clone();
        status.rejects.insert(word, 3);
        let mut subject = subject(status);
        if whole {
            let (status, facts) = lake();
            subject = Subject::default();
            subject.says(Ok((status, Some(facts))));
        }
        let view = subject.view(&bounds(), NOW, false);
        let selected = tabs.saturating_sub(1);
        let tabs = (0..tabs).map(|n| format!("tab {n}")).collect();
        let mut around = Frames { tabs, selected, scroll, help, ..Frames::default() };
        let lines = read(&drawn(&view, &mut around, width, height, true));
        prop_assert_eq!(lines.len(), usize::from(height));
        prop_assert!(around.scroll < 1_000_000);
        prop_assert!(lines.concat().chars().all(|c| !c.is_control()));
    }
}
