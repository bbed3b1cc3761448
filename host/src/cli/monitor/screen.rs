//! Draws a view on a terminal of any size: head, what needs a person, graphs, tables that scroll, keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::lines::{self, Palette, cut, wide};
use super::view::{Gauge, Tone, View};

/// Lines of the graphs: a number and its past.
const GRAPHS: u16 = 3;
/// Below this size there are no graphs.
const LOW: u16 = 12;
const NARROW: u16 = 36;

const KEYS: &str = "q quit  tab next  up/down scroll  p pause  ? help";

const HELP: [&str; 19] = [
    "q, Esc, Ctrl-C      quit",
    "tab, shift-tab      the next host, or the lake; the one before",
    "up, down, k, j      scroll by a line",
    "PgUp, PgDn          … by a page; Home and End go to the ends",
    "p, space            hold the picture, and go on",
    "?, h                this page, and back",
    "",
    "events/s            committed events a second, over the last half a minute",
    "freshness           how old the oldest event of the last commit was when readers could see it,",
    "                    or how long one waits at least, if that is longer",
    "newest event        of the lake: how long ago the newest event came that is in it",
    "lag                 events that are in the topic and not yet in the lake",
    "! …                 needs a person: an alarm is on",
    "",
    "The graphs show a look a column, the newest at the right. Rows and rejects are counted since the",
    "host started, and only what is committed; per row is time on the lane's processor. An idle topic",
    "is fresh: only events that wait can be too old.",
    "",
    "Without a terminal: tidemill monitor --once, or --once --json; its exit code tells of alarms.",
];

/// What stands around a view.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// All that can be looked at.
    pub(super) tabs: Vec<String>,
    /// Which of them is shown.
    pub(super) selected: usize,
    /// The picture is held.
    pub(super) paused: bool,
    /// The keys are explained in place of the tables.
    pub(super) help: bool,
    /// Lines of the body that are above what is shown.
    pub(super) scroll: usize,
}

/// Draws. Corrects the scroll where it leads beyond the end; gives back the lines of a page.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, around: &mut Frames, palette: Palette) -> usize {
    let mut rest = frame.area();
    if rest.is_empty() {
        return 1;
    }
    let width = usize::from(rest.width);
    let high = rest.height;
    lay(frame, take(&mut rest, 1), vec![head(view, around, width, palette)]);
    if around.tabs.len() > 1 {
        lay(frame, take(&mut rest, 1), vec![tabs(around, width)]);
    }
    let alarms = lines::alarms(view, width, palette);
    let most = usize::from(high / 4).max(1);
    let all = alarms.len() <= most;
    let mut shown: Vec<Line<'static>> = alarms.iter().take(most).cloned().collect();
    if let Some(last) = shown.last_mut().filter(|_| !all) {
        *last = Line::styled(cut("! … scroll: all of it stands below", width), palette.style(Tone::Bad));
    }
    let lines = u16::try_from(shown.len()).unwrap_or(u16::MAX);
    lay(frame, take(&mut rest, lines), shown);
    if high >= LOW && rest.width >= NARROW && !view.gauges.is_empty() {
        graphs(frame, take(&mut rest, GRAPHS), &view.gauges, palette);
    }
    let foot = if high > 2 { take_last(&mut rest) } else { Rect::default() };
    lay(frame, foot, vec![Line::styled(cut(KEYS, width), palette.style(Tone::Dim))]);
    let mut body = if around.help {
        HELP.iter().flat_map(|line| lines::wrap(line, width)).map(Line::from).collect()
    } else {
        lines::body(view, width, palette)
    };
    if !all && !around.help {
        body.splice(..0, alarms.into_iter().chain([Line::default()]));
    }
    let page = usize::from(rest.height);
    around.scroll = around.scroll.min(body.len().saturating_sub(page));
    lay(frame, rest, body.into_iter().skip(around.scroll).take(page).collect());
    page.max(1)
}

/// Takes lines from the top.
fn take(rest: &mut Rect, lines: u16) -> Rect {
    let lines = lines.min(rest.height);
    let taken = Rect { height: lines, ..*rest };
    (rest.y, rest.height) = (rest.y + lines, rest.height - lines);
    taken
}

/// Takes the last line.
fn take_last(rest: &mut Rect) -> Rect {
    let lines = rest.height.min(1);
    rest.height -= lines;
    Rect { y: rest.y + rest.height, height: lines, ..*rest }
}

fn lay(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    if !area.is_empty() {
        frame.render_widget(Paragraph::new(lines), area);
    }
}

fn head(view: &View, around: &Frames, width: usize, palette: Palette) -> Line<'static> {
    let mut marks: Vec<(Tone, String)> = Vec::new();
    match view.alarms.len() {
        0 => {}
        1 => marks.push((Tone::Bad, " 1 ALARM ".into())),
        more => marks.push((Tone::Bad, format!(" {more} ALARMS "))),
    }
    marks.extend(around.paused.then(|| (Tone::Warn, " PAUSED ".to_owned())));
    let taken: usize = marks.iter().map(|(_, mark)| wide(mark)).sum();
    let room = width.saturating_sub(taken);
    let title = cut(&format!(" {} ", view.title), room);
    let gap = " ".repeat(room.saturating_sub(wide(&title)));
    let reversed = Style::default().add_modifier(Modifier::REVERSED);
    let mut spans = vec![Span::styled(format!("{title}{gap}"), reversed)];
    let mark = |(tone, text)| Span::styled(text, palette.style(tone).add_modifier(Modifier::REVERSED));
    spans.extend(marks.into_iter().map(mark));
    Line::from(spans)
}

/// The one that is shown is always among those that there is room for.
fn tabs(around: &Frames, width: usize) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut first = 0;
    let until = |first: usize| -> usize {
        let through = around.tabs.iter().take(around.selected + 1).skip(first);
        through.map(|name| wide(name) + 3).sum()
    };
    while first < around.selected && until(first) > width {
        first += 1;
    }
    for (at, name) in around.tabs.iter().enumerate().skip(first) {
        let style = match at == around.selected {
            true => Style::default().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            false => Style::default(),
        };
        spans.extend([Span::styled(format!(" {name} "), style), Span::raw(" ")]);
    }
    Line::from(spans)
}

fn graphs(frame: &mut Frame<'_>, area: Rect, gauges: &[Gauge], palette: Palette) {
    let count = u16::try_from(gauges.len()).unwrap_or(1).max(1);
    let width = area.width / count;
    for (gauge, at) in gauges.iter().zip(0..) {
        let column = Rect { x: area.x + at * width, width: width.saturating_sub(2), ..area };
        let mut rest = column.intersection(area);
        let bold = palette.style(gauge.tone).add_modifier(Modifier::BOLD);
        let number = Line::from(vec![
            Span::styled(format!("{} ", gauge.name), palette.style(Tone::Dim)),
            Span::styled(gauge.value.clone(), bold),
        ]);
        lay(frame, take(&mut rest, 1), vec![number]);
        if rest.is_empty() {
            continue;
        }
        let columns = usize::from(rest.width);
        let newest = gauge.past.len().saturating_sub(columns);
        let missing = columns.saturating_sub(gauge.past.len());
        let bars: Vec<Option<u64>> =
            std::iter::repeat_n(None, missing).chain(gauge.past[newest..].iter().copied()).collect();
        frame.render_widget(Sparkline::default().data(bars).style(palette.style(gauge.tone)), rest);
    }
}

#[cfg(test)]
mod tests;
