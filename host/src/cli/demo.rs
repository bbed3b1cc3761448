//! `tidemill demo`: the whole way of the data on this machine, with nothing installed.

mod report;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::build;
use super::produce::duration;
use crate::config::{Config, Flags, Layers};
use crate::observe::{Stats, directories};
use crate::source::Auth;
use crate::source::embedded::Broker;
use crate::source::produce::{Plan, Sent, send};
use crate::{Error, Result, env, pipeline};

/// Runs the demo.
#[derive(Args)]
#[command(after_help = "Examples:\n  tidemill demo\n  tidemill demo --for 1m --rate 5000")]
pub(super) struct Demo {
    /// How long events are made
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    time: Duration,
    /// Events a second
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    rate: u64,
    /// Directory of transforms [default: in a checkout, its transforms, built first]
    #[arg(long, value_name = "DIR")]
    transforms: Option<PathBuf>,
    /// Where the dashboard is served; off: nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: String,
    /// Where the lake goes; what an earlier demo left there is replaced
    #[arg(long, value_name = "DIR", default_value = "tidemill-demo")]
    dir: PathBuf,
}

const TOPIC: &str = "user-events";
/// Marks a folder as a demo's, so that nobody else's is ever cleared.
const MARK: &str = ".tidemill-demo";
/// How long the last events may take from the generator into the lake.
const CATCH_UP: Duration = Duration::from_secs(20);

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        let transforms = self.transforms()?;
        prepare(&self.dir)?;
        let broker = Broker::start(TOPIC, 3)?;
        let config = config(&self.dir, &transforms, &broker, &self.http)?;
        let stats = Arc::new(Stats::default());
        let runtime = super::runtime()?;
        let sent = runtime.block_on(self.flow(&config, &stats));
        runtime.shutdown_timeout(Duration::from_millis(500));
        report::print(&self.dir, &sent?, &stats.snapshot());
        Ok(())
    }

    /// The directory of components: given, or that of the checkout we are in, built first.
    fn transforms(&self) -> Result<PathBuf> {
        if let Some(directory) = &self.transforms {
            return Ok(directory.clone());
        }
        let checkout = Path::new("transforms");
        if !Path::new("guest-sdk/Cargo.toml").is_file() || !checkout.is_dir() {
            return Err(Error::usage(
                "this is no checkout of tidemill, so there is nothing to build: pass --transforms DIR with *.wasm components",
            ));
        }
        build::build(checkout, checkout)?;
        Ok(checkout.into())
    }

    /// Makes events, runs the host beside it, and waits until all of them are in the lake.
    async fn flow(&self, config: &Config, stats: &Arc<Stats>) -> Result<Sent> {
        let mut signal = super::signal::stop()?;
        let (end, ended) = watch::channel(false);
        let mut host = tokio::spawn({
            let (config, stats) = (config.clone(), stats.clone());
            async move { pipeline::run(&config, env::machine(), stats, ended).await }
        });
        // Nothing is made before the host is there to take it: the embedded broker forgets early.
        while stats.snapshot().partitions < 3 && !host.is_finished() && !*signal.borrow() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let quit = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU64::new(0));
        let plan = self.plan(config);
        let generator = std::thread::spawn({
            let (quit, made) = (quit.clone(), made.clone());
            move || send(&plan, &env::machine(), &quit, |number| made.store(number, Ordering::Relaxed))
        });
        let screen = screen(self.time);
        let began = Instant::now();
        let mut last = began;
        let result = loop {
            let now = stats.snapshot();
            show(&screen, began, made.load(Ordering::Relaxed), stats, self.time);
            let over = began.elapsed() >= self.time || *signal.borrow();
            if over {
                quit.store(true, Ordering::Relaxed);
            } else {
                last = Instant::now();
            }
            let all_there = generator.is_finished() && now.events >= made.load(Ordering::Relaxed);
            if over && (all_there || last.elapsed() > CATCH_UP) {
                break Ok(());
            }
            tokio::select! {
                done = &mut host => break done.unwrap_or_else(|e| Err(Error::stop(e.to_string()))),
                changed = signal.changed(), if !*signal.borrow() => drop(changed),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        };
        quit.store(true, Ordering::Relaxed);
        screen.finish_and_clear();
        let running = result.is_ok() && !host.is_finished();
        // The host may have ended by itself; then its own result counts.
        let _ = end.send(true);
        if running {
            host.await.unwrap_or_else(|e| Err(Error::stop(e.to_string())))?;
        }
        let sent = generator.join().map_err(|_| Error::stop("the generator failed"))?;
        result.and(sent)
    }

    fn plan(&self, config: &Config) -> Plan {
        Plan {
            auth: Auth::default(),
            brokers: config.brokers.clone(),
            topic: TOPIC.into(),
            partitions: 3,
            rate: self.rate,
            count: 0,
            seed: 1,
            bad: 0.01,
            compression: "none".into(),
            spread: Duration::ZERO,
            librdkafka: Default::default(),
        }
    }
}

/// Makes an empty folder for the lake. What an earlier demo left is removed, anything else is not.
fn prepare(dir: &Path) -> Result<()> {
    let fail = |e: std::io::Error| Error::stop(format!("cannot prepare {}: {e}", dir.display()));
    let empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if !empty && !dir.join(MARK).exists() {
        return Err(Error::usage(format!(
            "{} holds something that is not of a demo; move it away or choose another --dir",
            dir.display()
        )));
    }
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(fail)?;
    }
    std::fs::create_dir_all(dir).map_err(fail)?;
    std::fs::write(dir.join(MARK), "`tidemill demo` made this folder and may replace it.\n").map_err(fail)
}

/// The reference deployment, but for the places: the embedded broker and a lake on local disk.
fn config(dir: &Path, transforms: &Path, broker: &Broker, http: &str) -> Result<Config> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|e| Error::stop(format!("cannot find {}: {e}", path.display())))
    };
    let dir = absolute(dir)?;
    let values = [
        ("brokers", broker.address()),
        ("topic", TOPIC.into()),
        ("raw", format!("file://{}", dir.join("raw").display())),
        ("processed", format!("file://{}", dir.join("processed").display())),
        ("transforms", transforms.display().to_string()),
        ("commit-interval", "1s".into()),
        ("http", http.into()),
    ];
    let config = Config::of(&Layers::only(&Flags { values: values.into(), ..Flags::default() })?)?;
    Ok(Config { sockets: directories::of_user(), ..config })
}

/// A line on a terminal that is always current; nothing elsewhere.
fn screen(time: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(time.as_millis().try_into().unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(screen: &ProgressBar, began: Instant, made: u64, stats: &Stats, time: Duration) {
    let (now, board) = (&stats.snapshot(), stats.board());
    let elapsed = began.elapsed();
    screen.set_position(elapsed.min(time).as_millis().try_into().unwrap_or(u64::MAX));
    let rate = now.events as f64 / elapsed.as_secs_f64().max(0.1);
    let fresh = now.freshness.map_or("-".into(), report::seconds);
    let mut message = format!(
        "{:.0} s: {made} made, {} in the lake ({rate:.0}/s), fresh within {fresh}",
        elapsed.as_secs_f64(),
        now.events
    );
    for (zone, table, rows) in report::tables(now) {
        message += &format!("\n  {zone:<10} {table:<26} {rows:>10} rows");
    }
    let dashboard = &board.status().host.dashboard;
    if !dashboard.is_empty() {
        message += &format!("\n\n  Watch it in a browser: {dashboard}");
    }
    screen.set_message(message);
}
