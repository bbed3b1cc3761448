//! The steps of one area, one after the other: each within its time, and none whose ground has failed.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::report::{Finding, State, Step};

/// What happens while steps run.
#[derive(Debug)]
pub enum Event {
    /// A step begins.
    Begins(&'static str, String),
    /// A step has ended.
    Done(Step),
    /// The steps of an area are over.
    Over(&'static str),
}

/// How long steps may take, and what must not be printed.
#[derive(Clone, Debug)]
pub struct Terms {
    /// One step.
    pub limit: Duration,
    /// When all must be over.
    pub end: Instant,
    /// Values that stand in no line.
    pub secrets: Vec<String>,
}

/// The steps of one area.
pub(super) struct Course {
    area: &'static str,
    terms: Terms,
    out: UnboundedSender<Event>,
    /// Names with how they ended; of one that was skipped, the step that is to blame.
    done: Vec<(String, State, String)>,
}

impl Course {
    pub(super) fn new(area: &'static str, terms: &Terms, out: &UnboundedSender<Event>) -> Course {
        Course { area, terms: terms.clone(), out: out.clone(), done: Vec::new() }
    }

    /// The time of one step.
    pub(super) fn limit(&self) -> Duration {
        self.terms.limit
    }

    /// Does a step, unless one that it needs has not passed. Gives what it found for later steps.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        needs: &[&str],
        work: impl Future<Output = Finding<T>>,
    ) -> Option<T> {
        self.long(name, needs, self.terms.limit, work).await
    }

    /// The same with a time of its own.
    pub(super) async fn long<T>(
        &mut self,
        name: &str,
        needs: &[&str],
        limit: Duration,
        work: impl Future<Output = Finding<T>>,
    ) -> Option<T> {
        if needs.iter().any(|need| self.skip(&[name], need)) {
            return None;
        }
        let left = self.terms.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.end(name, State::Skipped, "there was no time left for it".into(), None, 0, name);
            return None;
        }
        let _ = self.out.send(Event::Begins(self.area, name.into()));
        let (begun, limit) = (Instant::now(), limit.min(left));
        // In a box: what AWS clients make is large, and a thread's stack is not.
        let found = tokio::time::timeout(limit, Box::pin(work)).await.unwrap_or_else(|_| {
            Finding::failed(
                format!("no answer within {:.1} s", limit.as_secs_f64()),
                "see whether it is up and the network lets it through; `--limit` gives it longer",
            )
        });
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Finding { state, found, remedy, value } = found;
        self.end(name, state, found, remedy, ms, name);
        value.filter(|_| state.passed())
    }

    /// Skips steps if one that they need has not passed; says whether.
    pub(super) fn skip(&mut self, names: &[&str], need: &str) -> bool {
        let found = self.done.iter().find(|(name, _, _)| name == need);
        let cause = match found {
            Some((_, state, _)) if state.passed() => return false,
            // What it was skipped for is to blame, too.
            Some((_, _, cause)) => cause.clone(),
            None => need.to_owned(),
        };
        for name in names {
            self.end(name, State::Skipped, format!("skipped: `{cause}` did not pass"), None, 0, &cause);
        }
        true
    }

    fn end(&mut self, name: &str, state: State, found: String, remedy: Option<String>, ms: u64, cause: &str) {
        self.done.push((name.into(), state, cause.into()));
        let ok = (state != State::Skipped).then_some(state.passed());
        let found = self.masked(found);
        let remedy = remedy.map(|remedy| self.masked(remedy));
        let step = Step { area: self.area, name: name.into(), state, ok, found, remedy, ms };
        let _ = self.out.send(Event::Done(step));
    }

    /// One line without what is secret: what others say may repeat it.
    fn masked(&self, text: String) -> String {
        let line = text.replace(['\n', '\r'], " ");
        self.terms.secrets.iter().fold(line, |text, secret| text.replace(secret.as_str(), "********"))
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        let _ = self.out.send(Event::Over(self.area));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn terms(limit: u64, all: u64) -> Terms {
        let (limit, end) = (Duration::from_millis(limit), Instant::now() + Duration::from_millis(all));
        Terms { limit, end, secrets: vec!["hunter22".into()] }
    }

    /// The steps as (name, state, found).
    fn steps(mut events: mpsc::UnboundedReceiver<Event>) -> Vec<(String, State, String)> {
        let mut steps = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let Event::Done(step) = event {
                steps.push((step.name, step.state, step.found));
            }
        }
        steps
    }

    #[tokio::test]
    async fn what_builds_on_a_failure_is_skipped_and_names_it_and_the_rest_is_tried() {
        let (out, events) = mpsc::unbounded_channel();
        let mut course = Course::new("a", &terms(1000, 5000), &out);
        let value = course.step("one", &[], async { Finding::ok("fine").with(7) }).await;
        assert_eq!(value, Some(7));
        course.step::<()>("two", &["one"], async { Finding::failed("hunter22\nis wrong", "mend it") }).await;
        course.step("three", &["two"], async { Finding::ok("never") }).await;
        course.step("four", &["three", "one"], async { Finding::ok("never") }).await;
        course.step("five", &["one"], async { Finding::warning("so so", "look") }).await;
        assert!(!course.skip(&["six"], "five") && course.skip(&["six", "seven"], "four"));
        drop(course);
        let steps = steps(events);
        let states: Vec<State> = steps.iter().map(|(_, state, _)| *state).collect();
        assert_eq!(
            states,
            [
                State::Ok,
                State::Failed,
                State::Skipped,
                State::Skipped,
                State::Warning,
                State::Skipped,
                State::Skipped
            ]
        );
        assert_eq!(steps[1].2, "******** is wrong");
        for (_, _, found) in steps[2..4].iter().chain(&steps[5..]) {
            assert_eq!(found, "skipped: `two` did not pass");
        }
    }

    #[tokio::test]
    async fn nothing_takes_longer_than_it_may() {
        let (out, events) = mpsc::unbounded_channel();
        let mut course = Course::new("a", &terms(30, 80), &out);
        for name in ["one", "two", "three", "four"] {
            course.step(name, &[], std::future::pending::<Finding>()).await;
        }
        drop(course);
        let steps = steps(events);
        assert_eq!(steps[0].1, State::Failed);
        assert!(steps[0].2.contains("no answer within 0.0 s"), "{}", steps[0].2);
        assert_eq!(steps[3].1, State::Skipped, "there was no time left");
    }
}
