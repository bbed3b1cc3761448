//! `tidemill deploy-transform`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::produce::duration;
use super::progress::Bar;
use super::{age, say};
use crate::config::{CatalogKind, Config, Flags};
use crate::observe::{At, Status, hosts};
use crate::pipeline::deploy::{Deployment, Standing};
use crate::pipeline::offline::Lake;
use crate::sink::Keys;
use crate::transform::Package;
use crate::transform::trust::SigningKey;
use crate::{Error, Result, env};

/// Puts a transform where the running hosts look for them, and waits until they run it.
#[derive(Args)]
#[command(
    after_help = "It does first what a host does with a new file: is it trusted, does it load, does it fit beside the other
transforms, can it go on from their states? Then it puts the component with its sidecar (NAME.toml) and its
signature (NAME.wasm.sig) into the place that `transforms` names, a bucket or a directory. It is live when the
commit log names it and the partitions that have events commit with it.

Examples:
  tidemill deploy-transform target/clean.wasm --transforms s3://my-transforms/live
  tidemill deploy-transform clean.wasm --key release.pem    sign it on the way
  tidemill deploy-transform --remove sessions               retire one"
)]
pub(super) struct Deploy {
    /// The component; its sidecar and its signature lie beside it
    #[arg(value_name = "FILE", required_unless_present = "remove")]
    file: Option<PathBuf>,
    /// Retire the transform of this name instead
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "key"])]
    remove: Option<String>,
    /// Sign it with this private key (see tidemill sign)
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// Do not wait for the hosts
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for them
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    timeout: Duration,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Where nothing commits for so many intervals after the log has named it, there are no events.
const INTERVALS: u32 = 3;
/// … but at least so long.
const QUIET: Duration = Duration::from_secs(10);

impl Deploy {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        // The tables are the hosts' business.
        let config = Config { catalog: CatalogKind::None, ..config };
        let (name, deployment) = match (&self.file, &self.remove) {
            (Some(file), _) => {
                let package = package(file, self.key.as_deref())?;
                (package.name.clone(), Deployment::of(&config, package)?)
            }
            (None, Some(name)) => (name.clone(), Deployment::removal(&config, name)?),
            (None, None) => return Err(Error::usage("name a component, or a transform to --remove")),
        };
        let bar = Bar::new();
        let done = super::runtime()?.block_on(self.deploy(&config, &name, &deployment, &bar));
        bar.end();
        let (standing, took) = done?;
        self.report(&name, &config.transforms_place(), standing.as_ref(), took)
    }

    async fn deploy(
        &self,
        config: &Config,
        name: &str,
        deployment: &Deployment,
        bar: &Bar,
    ) -> Result<(Option<Standing>, Duration)> {
        let mut lakes = Lake::open(config, &env::machine(), "deploy-transform").await?;
        bar.tell("reading the commit log".into());
        Lake::read(&mut lakes).await?;
        bar.tell(format!("trying {name} beside the other transforms"));
        for lake in &mut lakes {
            deployment.rehearse(lake).await?;
        }
        let since = At(env::machine().now());
        deployment.carry_out().await?;
        let began = Instant::now();
        if self.no_wait {
            return Ok((None, began.elapsed()));
        }
        let quiet = QUIET.max(config.commit_interval * INTERVALS);
        let (mut standing, mut named) = (Standing::default(), None);
        while began.elapsed() < self.timeout {
            standing = deployment.standing(&mut lakes).await?;
            if standing.set.is_some() {
                let named = *named.get_or_insert_with(Instant::now);
                let all = standing.behind.is_empty() && standing.quiet.is_empty();
                let nothing_comes = standing.behind.is_empty() && named.elapsed() > quiet;
                if all && !standing.live.is_empty() || nothing_comes {
                    return Ok((Some(standing), began.elapsed()));
                }
            } else if let Some(why) = refusal(config, name, since).await? {
                return Err(Error::stop(format!("a host of this machine does not take {name} in: {why}")));
            }
            bar.tell(match standing.set {
                None => format!("waiting for a host to take {name} in"),
                Some(set) => format!("waiting for partitions to commit with the set of record {set}"),
            });
            tokio::time::sleep(LOOK).await;
        }
        let waited = age(self.timeout);
        Err(Error::stop(match standing.set {
            None => format!(
                "{name} was put into {}, but no host has taken it in within {waited}: is one running, with this \
                 place as its `transforms`? its log and `tidemill status` say why it refuses something",
                config.transforms_place()
            ),
            Some(set) => format!(
                "record {set} names {name}, but partitions {:?} still commit without it after {waited}: see \
                 `tidemill status` on their hosts",
                standing.behind
            ),
        }))
    }

    fn report(&self, name: &str, place: &str, standing: Option<&Standing>, took: Duration) -> Result<()> {
        if self.json {
            let said = serde_json::json!({ "transform": name, "place": place, "standing": standing, "seconds": took.as_secs_f64() });
            return say(&format!("{said}\n"));
        }
        let what = if self.remove.is_some() { "retired" } else { "live" };
        say(&match standing {
            None => format!("{name}: {place} was changed; nobody waited for the hosts\n"),
            Some(standing) => {
                let set = standing.set.unwrap_or_default();
                let partitions = match (standing.live.len(), standing.quiet.len()) {
                    (0, _) => "no partition has had events since".into(),
                    (live, 0) => format!("{live} partitions commit with it"),
                    (live, quiet) => format!("{live} partitions commit with it, {quiet} had no events since"),
                };
                format!("{name} is {what} after {:.1} s: record {set}, {partitions}\n", took.as_secs_f64())
            }
        })
    }
}

/// The component with what is beside it, signed if there is a key.
fn package(file: &Path, key: Option<&Path>) -> Result<Package> {
    if file.extension().is_none_or(|ending| ending != "wasm") {
        return Err(Error::usage(format!("{} is no component: expected NAME.wasm", file.display())));
    }
    let mut package = Package::read(file)?;
    if let Some(path) = key {
        package.signature = Some(read_key(path)?.sign(&package));
    }
    Ok(package)
}

/// A private key in a file.
pub(super) fn read_key(path: &Path) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::usage(format!("cannot read the key {}: {e}", path.display())))?;
    SigningKey::read(&text)
        .map_err(|why| Error::usage(format!("cannot use the key {}: {why}", path.display())))
}

/// Why a host of this machine has refused it since then, if one has.
async fn refusal(config: &Config, name: &str, since: At) -> Result<Option<String>> {
    let keys = Keys::new(&config.pipeline)?;
    let hosts = hosts::ask(&config.sockets, Some(keys.segment())).await;
    let told = hosts.into_iter().filter_map(|host| host.status.ok());
    let refused = |status: Status| status.refused.into_iter().find(|r| r.file == name && r.at.0 >= since.0);
    Ok(told.filter_map(refused).map(|refused| refused.reason).next())
}
