//! The transforms: the directory, each component by itself, what they make together, and the cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::course::Course;
use super::report::Finding;
use crate::Result;
use crate::config::Config;
use crate::pipeline::{self, Shelf};
use crate::transform::{Compiling, Component, Engine, Package, Trust, cache};
use crate::wait::blocking;

/// Compiling takes longer than a question: this many times.
const COMPILING: u32 = 6;

/// All steps.
pub(super) async fn run(mut course: Course, config: &Config) {
    course.step("cache", &[], caching(config)).await;
    let Some(packages) = course.step("directory", &[], directory(config)).await else {
        course.skip(&["graph"], "directory");
        return;
    };
    let engine = {
        let cache = config.cache.clone();
        blocking("starting the engine", move || Engine::new(Compiling::of_process(), cache.as_deref())).await
    };
    let engine = match engine.and_then(|made| made) {
        Ok(engine) => Arc::new(engine),
        Err(e) => {
            let why = e.to_string();
            course
                .step("engine", &[], async { Finding::<()>::failed(why, "this is a bug: report it") })
                .await;
            course.skip(&["graph"], "engine");
            return;
        }
    };
    let (mut components, mut needs) = (Vec::new(), vec!["directory".to_owned()]);
    let limit = course.limit().saturating_mul(COMPILING).min(Duration::from_secs(90));
    for package in packages {
        let name = format!("{}.wasm", package.name);
        let loaded = course
            .long(&name, &[], limit, load(engine.clone(), package, config.trust.clone(), limit.mul_f32(0.95)))
            .await;
        components.extend(loaded);
        needs.push(name);
    }
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    course.step("graph", &needs, graph(config, components)).await;
}

async fn directory(config: &Config) -> Finding<Vec<Package>> {
    let at = match config.transforms_directory() {
        Some(directory) => std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()),
        None => config.transforms_place().into(),
    };
    match Shelf::new(config).read().await {
        Ok(packages) => {
            Finding::ok(format!("{}: {} components", at.display(), packages.len())).with(packages)
        }
        Err(e) => Finding::failed(
            e.to_string(),
            "tidemill build (in a checkout), or name the directory with the *.wasm: --transforms DIR",
        ),
    }
}

async fn load(engine: Arc<Engine>, package: Package, trust: Trust, limit: Duration) -> Finding<Component> {
    if let Err(e) = trust.check(&package) {
        return Finding::failed(e.to_string(), "`tidemill sign --help` shows how");
    }
    let file = package.file.clone();
    let loading = blocking("loading a transform", move || Component::load(&engine, &package));
    let Ok(loaded) = tokio::time::timeout(limit, loading).await else {
        return Finding::failed(
            format!("{file} was not compiled within {:.0} s", limit.as_secs_f64()),
            "the machine is busy, or the component is very large: `--limit 30s` gives it longer",
        );
    };
    match loaded.and_then(|loaded| loaded) {
        Ok(component) => {
            let identity = &component.identity;
            let short = identity.digest.get(..12).unwrap_or_default();
            Finding::ok(format!("{} {} (sha256 {short}…)", identity.name, identity.version)).with(component)
        }
        Err(e) => Finding::failed(
            e.to_string(),
            format!("build it anew (tidemill build), correct its .toml, or take {file} out of the directory"),
        ),
    }
}

async fn graph(config: &Config, components: Vec<Component>) -> Finding {
    match pipeline::plan(config, components) {
        Ok(graph) => {
            let tables: Vec<&str> = graph.tables().map(|table| table.name.as_str()).collect();
            Finding::ok(format!("makes {}; `tidemill graph` shows how", tables.join(", ")))
        }
        Err(e) => {
            Finding::failed(e.to_string(), "correct the transform that is named, its .toml, or [tables]")
        }
    }
}

async fn caching(config: &Config) -> Finding {
    let Some(directory) = config.cache.clone() else {
        return Finding::ok("none: transforms are compiled at every start");
    };
    let shown = directory.display().to_string();
    let tried =
        blocking("trying the cache", move || cache::usable(&directory).and_then(|()| writable(&directory)));
    match tried.await.unwrap_or_else(|e| Err(e.to_string())) {
        Ok(()) => Finding::ok(shown),
        Err(why) => Finding::warning(
            format!("{shown} is not used, so transforms are compiled at every start: {why}"),
            "name a directory of this user's own, that nobody else can write: --cache DIR",
        ),
    }
}

fn writable(directory: &Path) -> Result<(), String> {
    let path = directory.join(format!("{}.tmp", crate::env::machine().fresh_id()));
    let written = std::fs::write(&path, "doctor");
    let removed = std::fs::remove_file(&path);
    written.and(removed).map_err(|e| format!("cannot write to it: {e}"))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::sync::mpsc;

    use super::super::course::{Event, Terms};
    use super::super::report::{State, Step};
    use super::*;
    use crate::config::{Flags, Layers};

    async fn steps(directory: &Path, cache: &Path) -> Vec<Step> {
        let values = [("transforms", directory), ("cache", cache)];
        let values = values.map(|(key, path)| (key, path.display().to_string())).into_iter().collect();
        let flags = Flags { values, ..Flags::default() };
        let config = Config::of(&Layers::only(&flags).expect("sound")).expect("sound");
        let (out, mut events) = mpsc::unbounded_channel();
        let limit = Duration::from_secs(5);
        let terms = Terms { limit, end: std::time::Instant::now() + limit * 10, secrets: Vec::new() };
        run(Course::new("transforms", &terms, &out), &config).await;
        let mut steps = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let Event::Done(step) = event {
                steps.push(step);
            }
        }
        steps
    }

    #[tokio::test]
    async fn each_file_that_is_wrong_is_named_and_the_graph_waits_for_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = dir.path().join("cache");
        let found = steps(&dir.path().join("none"), &cache).await;
        assert_eq!(found[1].state, State::Failed);
        assert!(found[1].remedy.as_ref().expect("one").contains("tidemill build"));
        std::fs::write(dir.path().join("one.wasm"), "no wasm").expect("written");
        std::fs::write(dir.path().join("two.wasm"), "no wasm").expect("written");
        let found = steps(dir.path(), &cache).await;
        let names: Vec<(&str, State)> = found.iter().map(|step| (step.name.as_str(), step.state)).collect();
        assert_eq!(
            names,
            [
                ("cache", State::Ok),
                ("directory", State::Ok),
                ("one.wasm", State::Failed),
                ("two.wasm", State::Failed),
                ("graph", State::Skipped)
            ]
        );
        assert!(found[2].remedy.as_ref().expect("one").contains("one.wasm"));
        assert_eq!(found[4].found, "skipped: `one.wasm` did not pass");
    }

    #[tokio::test]
    async fn a_cache_that_others_can_write_is_told_of() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("changed");
        let found = steps(&dir.path().join("none"), dir.path()).await;
        assert_eq!(found[0].state, State::Warning);
        assert!(found[0].found.contains("chmod go-w"), "{}", found[0].found);
    }
}
