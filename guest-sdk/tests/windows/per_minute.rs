use std::time::Duration;
use tidemill_sdk::aggregate::{Count, Distinct};
use tidemill_sdk::window::{Aggregation, Increments, Tumbling, Window, Windowed};
use tidemill_sdk::{Config, Int, Result, Text, Timestamp};

tidemill_sdk::input! { struct View from output "user_events" { page: Text, user_id: Text, timestamp: Timestamp, mark: Timestamp = watermark } }
tidemill_sdk::output! {
    table Minutes ("page_minutes", by minute) of struct Minute { minute: Timestamp [key], page: Text [key], views: Int [sum], users: Int [sum] }
}
struct PageMinutes;
#[rustfmt::skip]
impl Aggregation for PageMinutes {
    const NAME: &str = "page_minutes";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    type Row<'a> = View<'a>;
    type Out = Minutes;
    type Windows = Tumbling;
    type Mode = Increments;
    type Key = String;
    type Value = (Count, Distinct);
    fn open(_: &mut Config) -> Result<Self> { Ok(PageMinutes) }
    fn windows(&self) -> Tumbling { Tumbling::of(Duration::from_mins(1)) }
    fn time(&self, view: &View<'_>) -> Timestamp { view.timestamp }
    fn watermark(&self, view: &View<'_>) -> Timestamp { view.mark }
    fn key<'a>(&self, view: &'a View<'_>) -> &'a str { view.page }
    fn add(&self, value: &mut Self::Value, view: &View<'_>) { value.0.add(); value.1.add(view.user_id); }
    fn emit(&self, window: Window, page: &str, (views, users): (i64, i64), out: &mut Minutes) {
        out.emit(Minute { minute: window.start, page: page.into(), views, users });
    }
}
tidemill_sdk::transform!(Windowed<PageMinutes>);
#[test] #[rustfmt::skip]
fn views_and_users_are_counted() {
    use tidemill_sdk::testing::{open, row};
    let view = |second, user| row().set("page", "/").set("user_id", user).set("timestamp", Timestamp(second * Timestamp::SECOND));
    let mut minutes = open::<Windowed<PageMinutes>>(&[]).watermark_by("timestamp", Duration::from_hours(1));
    minutes.process([view(0, "u1"), view(59, "u1"), view(60, "u1"), view(7, "u2")]);
    let rows = minutes.flush_now()[0].rows("page_minutes").lines();
    assert_eq!(rows, ["1970-01-01T00:00:00Z, /, 3, 2", "1970-01-01T00:01:00Z, /, 1, 1"]);
}
