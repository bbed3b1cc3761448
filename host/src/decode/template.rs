//! Producers write the same members in the same order again and again. A template is what lies between the values of
//! such an event: a valid event with the same bytes there, and values that end where those bytes begin, has the same
//! members.

use super::any::{Member, of_node};
use super::block::Pattern;
use super::plan::Plan;
use super::scan::{Kind, Span, short_string};

/// What lies between the values of events of one shape.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Template {
    steps: Vec<Step>,
    /// What follows the last value.
    end: Pattern,
}

#[derive(PartialEq, Eq, Debug)]
struct Step {
    /// What is before a value: a name and its colon, with all that is around them.
    before: Pattern,
    /// Whose value follows.
    node: usize,
}

impl Template {
    /// From a valid event and all of its members.
    fn new(event: &[u8], at: usize, members: &[Member]) -> Self {
        let mut from = 0;
        let steps = members.iter().map(|member| {
            let before = Pattern::new(&event[from..member.span.begin() - at]);
            from = member.span.after() - at;
            Step { before, node: member.node }
        });
        let steps = steps.collect();
        Template { steps, end: Pattern::new(&event[from..]) }
    }

    /// See [`super::any::event`].
    #[inline(always)]
    fn event(&self, plan: &Plan, bytes: &[u8], mut at: usize, end: usize, spans: &mut [Span]) -> bool {
        for step in &self.steps {
            if !step.before.is_at(bytes, at) {
                return false;
            }
            at += step.before.len();
            if bytes.get(at) == Some(&b'"')
                && let Some(to) = short_string(bytes, at + 1)
            {
                spans[step.node] = Span { from: at + 1, to, kind: Kind::Text };
                at = to + 1;
                continue;
            }
            let Some(span) = of_node(plan, step.node, bytes, at, spans) else { return false };
            spans[step.node] = span;
            at = span.after();
        }
        at + self.end.len() == end && self.end.is_at(bytes, at)
    }
}

/// The templates that a decoder has learned.
#[derive(Default)]
pub(super) struct Templates {
    learned: Vec<Learned>,
    /// The one that fitted last.
    last: usize,
    /// Events of other shapes to let pass before the next one is learned.
    wait: u32,
    /// How many those were the last time.
    pause: u32,
    /// Events since one of them fitted, or was learned.
    idle: u32,
}

struct Learned {
    template: Template,
    /// Events that it fitted, halved whenever another one is learned.
    fitted: u32,
}

/// More would be tried in vain too often.
const MOST: usize = 4;
/// Shapes with more members are not learned.
pub(super) const MEMBERS: usize = 256;
/// To learn costs as much as some ten events do that are read in any order.
const WORTH: u32 = 32;
/// Where no shape comes again, learning is soon given up, but for one event in so many,
const LONGEST_PAUSE: u32 = 4096;
/// and templates are no longer tried after so many events in vain.
const PATIENCE: u32 = 64;

impl Templates {
    /// Tries all of them. See [`super::any::event`].
    #[inline(always)]
    pub(super) fn event(
        &mut self,
        plan: &Plan,
        bytes: &[u8],
        at: usize,
        end: usize,
        spans: &mut [Span],
    ) -> bool {
        if self.idle >= PATIENCE {
            return false;
        }
        for _ in 0..self.learned.len() {
            let learned = &mut self.learned[self.last];
            spans.fill(Span::ABSENT);
            if learned.template.event(plan, bytes, at, end, spans) {
                learned.fitted = learned.fitted.saturating_add(1);
                self.idle = 0;
                return true;
            }
            self.last = if self.last + 1 < self.learned.len() { self.last + 1 } else { 0 };
        }
        self.idle += 1;
        false
    }

    /// Whether the event that fits none of them is to be learned.
    #[inline(always)]
    pub(super) fn wants(&mut self) -> bool {
        let now = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        now
    }

    /// Learns from a valid event and all of its members, in place of the template that is least used.
    #[cold]
    #[inline(never)]
    pub(super) fn learn(&mut self, event: &[u8], at: usize, members: &[Member]) {
        if members.len() > MEMBERS {
            return;
        }
        self.idle = 0;
        let learned = Learned { template: Template::new(event, at, members), fitted: 0 };
        // It was there, and had been given up.
        if self.learned.iter().any(|l| l.template == learned.template) {
            return;
        }
        if self.learned.len() < MOST {
            self.learned.push(learned);
            return;
        }
        let least = self.learned.iter_mut().min_by_key(|l| l.fitted);
        let Some(least) = least else { return };
        self.pause =
            if least.fitted < WORTH { (self.pause * 2 + 1).min(LONGEST_PAUSE) } else { self.pause / 2 };
        self.wait = self.pause;
        *least = learned;
        self.learned.iter_mut().for_each(|l| l.fitted /= 2);
    }
}
