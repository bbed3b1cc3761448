//! A view as lines of a given width: for a terminal that is drawn, and for plain text.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::view::{Cell, Column, Section, Tone, View};

/// From this width on there are two columns of tables.
pub(super) const WIDE: usize = 150;
/// Between two columns.
const GAP: usize = 2;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// Without it there are only bold and dim letters.
    pub(super) coloured: bool,
}

impl Palette {
    pub(super) fn style(self, tone: Tone) -> Style {
        let plain = Style::default();
        let colour = |colour| if self.coloured { plain.fg(colour) } else { plain };
        match tone {
            Tone::Plain => plain,
            Tone::Good => colour(Color::Green),
            Tone::Warn => colour(Color::Yellow),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Dim => plain.add_modifier(Modifier::DIM),
        }
    }
}

/// All of a view, as plain text without graphs.
pub(super) fn text(view: &View, width: usize) -> String {
    let palette = Palette { coloured: false };
    let mut lines = vec![view.title.clone()];
    lines.extend(view.alarms.iter().map(|line| format!("! {line}")));
    lines.extend(view.notes.iter().cloned());
    let gauges: Vec<String> =
        view.gauges.iter().map(|gauge| format!("{} {}", gauge.name, gauge.value)).collect();
    lines.extend([gauges.join(", "), view.summary.clone()].into_iter().filter(|line| !line.is_empty()));
    for section in &view.sections {
        lines.push(String::new());
        lines.extend(table(section, width, palette).iter().map(|line| line.to_string().trim_end().into()));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Alarms, wrapped.
pub(super) fn alarms(view: &View, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let lines = view.alarms.iter().flat_map(|alarm| wrap(&format!("! {alarm}"), width));
    lines.map(|line| Line::styled(line, palette.style(Tone::Bad))).collect()
}

/// What stands below the graphs.
pub(super) fn body(view: &View, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for note in &view.notes {
        lines.extend(wrap(note, width).into_iter().map(|line| Line::styled(line, palette.style(Tone::Warn))));
    }
    if !view.summary.is_empty() {
        lines.push(Line::styled(cut(&view.summary, width), palette.style(Tone::Dim)));
    }
    if width < WIDE {
        for section in &view.sections {
            lines.push(Line::default());
            lines.extend(table(section, width, palette));
        }
        return lines;
    }
    // Partitions and commits at the left, the rest at the right.
    let half = (width - 3) / 2;
    let side = |left: bool| {
        let sections = view.sections.iter().enumerate();
        let ours =
            sections.filter(|(at, _)| (at % view.sections.len().saturating_sub(1).max(1) == 0) == left);
        let mut lines = Vec::new();
        for (_, section) in ours {
            lines.push(Line::default());
            lines.extend(table(section, half, palette));
        }
        lines
    };
    let (left, right) = (side(true), side(false));
    for at in 0..left.len().max(right.len()) {
        let mut line = left.get(at).cloned().unwrap_or_default();
        if let Some(other) = right.get(at) {
            let gap = (half + 3).saturating_sub(line.width());
            line.spans.push(Span::raw(" ".repeat(gap)));
            line.spans.extend(other.spans.iter().cloned().map(|span| span.patch_style(other.style)));
        }
        lines.push(line);
    }
    lines
}

/// A table with its title, with as many of its columns as there is room for.
fn table(section: &Section, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let bold = Style::default().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::from(Span::styled(cut(&section.title, width), bold))];
    if !section.rows.is_empty() {
        let widths = widths(section, width);
        let head: Vec<Cell> = section
            .columns
            .iter()
            .map(|Column(name, ..)| Cell { text: (*name).into(), tone: Tone::Dim })
            .collect();
        for row in std::iter::once(&head).chain(&section.rows) {
            lines.push(line(&section.columns, row, &widths, palette));
        }
    }
    for (tone, text) in &section.lines {
        let wrapped = wrap(text, width).into_iter();
        lines.extend(wrapped.map(|text| Line::from(Span::styled(text, palette.style(*tone)))));
    }
    lines
}

/// The width of each column; none: it is left out.
fn widths(section: &Section, width: usize) -> Vec<Option<usize>> {
    let columns = section.columns.iter().enumerate();
    let mut widths: Vec<Option<usize>> = columns
        .map(|(at, Column(name, ..))| {
            let values = section.rows.iter().filter_map(|row| Some(wide(&row.get(at)?.text)));
            Some(values.chain([wide(name)]).max().unwrap_or_default())
        })
        .collect();
    let total = |widths: &[Option<usize>]| {
        let there: Vec<usize> = widths.iter().flatten().copied().collect();
        there.iter().sum::<usize>() + GAP * there.len().saturating_sub(1)
    };
    while total(&widths) > width {
        let ranks = section.columns.iter().enumerate().filter(|(at, _)| widths[*at].is_some());
        let Some((at, _)) = ranks.max_by_key(|(_, Column(.., rank))| *rank).filter(|(_, c)| c.2 > 0) else {
            break;
        };
        widths[at] = None;
    }
    // What must stay gives way where it is widest.
    while total(&widths) > width {
        let Some(widest) = widths.iter_mut().flatten().max().filter(|widest| **widest > 1) else { break };
        *widest -= 1;
    }
    widths
}

fn line(columns: &[Column], row: &[Cell], widths: &[Option<usize>], palette: Palette) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    for ((Column(_, left, _), cell), width) in columns.iter().zip(row).zip(widths) {
        let Some(width) = *width else { continue };
        if !spans.is_empty() {
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        let text = cut(&cell.text, width);
        let room = " ".repeat(width.saturating_sub(wide(&text)));
        let text = if *left { format!("{text}{room}") } else { format!("{room}{text}") };
        spans.push(Span::styled(text, palette.style(cell.tone)));
    }
    Line::from(spans)
}

/// Columns of a terminal that a text takes.
pub(super) fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text of at most this width.
pub(super) fn cut(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.into();
    }
    let mut kept = String::new();
    let mut room = width.saturating_sub(1);
    for letter in text.chars() {
        let takes = wide(letter.encode_utf8(&mut [0; 4]));
        if takes > room {
            break;
        }
        room -= takes;
        kept.push(letter);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// A text as lines of at most this width, broken between words where that is possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let words = text.trim_start_matches(' ');
    let indent = " ".repeat((text.len() - words.len()).min(width / 2));
    let (mut lines, mut line) = (Vec::new(), indent);
    for word in words.split(' ') {
        let begun = !line.trim_start().is_empty();
        if wide(&line) + usize::from(begun) + wide(word) <= width {
            line.push_str(if begun { " " } else { "" });
            line.push_str(word);
            continue;
        }
        if begun {
            lines.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            let takes = wide(letter.encode_utf8(&mut [0; 4]));
            if wide(&line) + takes > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::monitor::view::Column;

    #[test]
    fn a_text_is_broken_between_words_and_what_is_too_long_within() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  one two", 7), ["  one", "two"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("key   what it does", 40), ["key   what it does"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn a_text_that_is_cut_says_so_and_takes_no_more_room_than_there_is() {
        assert_eq!((cut("abcdef", 6), cut("abcdef", 4)), ("abcdef".into(), "abc…".into()));
        assert_eq!((cut("日本語", 5), cut("日本語", 4)), ("日本…".into(), "日…".into()));
        assert_eq!((cut("ab", 1), cut("ab", 0)), ("…".into(), String::new()));
    }

    #[test]
    fn columns_go_in_their_order_and_what_must_stay_gives_way_last() {
        let cell = |text: &str| Cell { text: text.into(), tone: Tone::Plain };
        let section = Section {
            columns: vec![Column("name", true, 0), Column("bytes", false, 1), Column("lane", false, 2)],
            rows: vec![vec![cell("a-long-name"), cell("12"), cell("3")]],
            ..Section::default()
        };
        let there = |width| -> Vec<Option<usize>> { widths(&section, width) };
        assert_eq!(there(24), [Some(11), Some(5), Some(4)]);
        assert_eq!(there(23), [Some(11), Some(5), None]);
        assert_eq!(there(17), [Some(11), None, None]);
        assert_eq!(there(6), [Some(6), None, None]);
        assert_eq!(
            line(&section.columns, &section.rows[0], &there(6), Palette { coloured: false }).to_string(),
            "a-lon…"
        );
    }
}
