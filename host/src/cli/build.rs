//! `tidemill build`: transform crates to components.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::Value;

use crate::{Error, Result};

/// Compiles transform crates.
#[derive(Args)]
#[command(after_help = "Examples:\n  tidemill build\n  tidemill build my-transforms --out deploy/transforms")]
pub struct Build {
    /// The folder whose subfolders are transform crates
    #[arg(default_value = "transforms")]
    directory: PathBuf,
    /// Where the components go [default: the same folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const TARGET: &str = "wasm32-wasip2";

/// A component that was built.
#[derive(Debug)]
pub struct Built {
    /// The crate.
    pub name: String,
    /// The component.
    pub path: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// It differs from what was there before.
    pub changed: bool,
}

impl Build {
    pub(super) fn run(self) -> Result<()> {
        let out = self.out.as_ref().unwrap_or(&self.directory);
        for built in build(&self.directory, out)? {
            let state = if built.changed { "built" } else { "unchanged" };
            println!(
                "{state} {} ({} KiB) -> {}",
                built.name,
                built.bytes.div_ceil(1024),
                built.path.display()
            );
        }
        Ok(())
    }
}

/// A workspace and the transform crates in it.
#[derive(Default)]
struct Workspace {
    packages: Vec<String>,
    has_profile: bool,
}

/// Builds all transform crates below a folder. Cargo's own messages go to stderr.
pub fn build(directory: &Path, out: &Path) -> Result<Vec<Built>> {
    let mut workspaces: BTreeMap<PathBuf, Workspace> = BTreeMap::new();
    for manifest in manifests(directory)? {
        let (root, package) = metadata(&manifest)?;
        let workspace = workspaces.entry(root.clone()).or_default();
        let text = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
        let toml: toml::Table = text.parse().unwrap_or_default();
        workspace.has_profile = toml.get("profile").and_then(|p| p.get("wasm")).is_some();
        workspace.packages.push(package);
    }
    std::fs::create_dir_all(out).map_err(|e| Error::stop(format!("cannot create {}: {e}", out.display())))?;
    let mut built = Vec::new();
    for (root, workspace) in &workspaces {
        for (name, artifact) in compile(root, workspace)? {
            built.push(place(name, &artifact, out)?);
        }
    }
    Ok(built)
}

fn manifests(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).map_err(|e| {
        Error::usage(format!(
            "cannot read {}: {e}; name the folder of your crates: tidemill build DIR",
            directory.display()
        ))
    })?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path().join("Cargo.toml")).filter(|p| p.is_file()).collect();
    if found.is_empty() {
        return Err(Error::usage(format!(
            "no transform crates in {}: expected folders with a Cargo.toml",
            directory.display()
        )));
    }
    found.sort();
    Ok(found)
}

/// The workspace and the name of a crate.
fn metadata(manifest: &Path) -> Result<(PathBuf, String)> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| no_cargo(&e))?;
    let bad = || Error::stop(format!("cargo cannot read {}", manifest.display()));
    if !output.status.success() {
        return Err(bad());
    }
    let json: Value = serde_json::from_slice(&output.stdout).map_err(|_| bad())?;
    let path = manifest.canonicalize().map_err(|_| bad())?;
    let root = json["workspace_root"].as_str().ok_or_else(bad)?.into();
    let packages = json["packages"].as_array().ok_or_else(bad)?;
    let package = packages.iter().find(|p| p["manifest_path"].as_str().map(Path::new) == Some(&path));
    let name = package.and_then(|p| p["name"].as_str()).ok_or_else(bad)?;
    Ok((root, name.into()))
}

/// The crates of a workspace: the name and the artifact of each.
fn compile(root: &Path, workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let compile = |name: &String| Ok((name.clone(), component(root, name, workspace.has_profile)?));
    workspace.packages.iter().map(compile).collect()
}

/// Compiles a crate as a component and as nothing else, whatever kinds of library its tests need: beside an `rlib`,
/// rustc leaves out link-time optimization without a word, which makes a component a tenth larger, and slower.
fn component(root: &Path, name: &str, has_profile: bool) -> Result<PathBuf> {
    let profile = if has_profile { "wasm" } else { "release" };
    let mut command = cargo();
    command.current_dir(root).args(["rustc", "--profile", profile, "--target", TARGET, "-p", name]);
    command.args(["--lib", "--crate-type", "cdylib", "--message-format", "json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| no_cargo(&e))?;
    if !output.status.success() {
        return Err(Error::stop(format!(
            "cargo could not build {name} for {TARGET}; if that target is missing: rustup target add {TARGET}"
        )));
    }
    for line in output.stdout.split(|b| *b == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        // A library's target has `_` where the crate may have `-`.
        let target = message["target"]["name"].as_str().unwrap_or_default();
        if message["reason"] != "compiler-artifact" || target.replace('-', "_") != name.replace('-', "_") {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(wasm) = files.into_iter().find(|f| f.ends_with(".wasm")) {
            return Ok(wasm.into());
        }
    }
    Err(Error::stop(format!("crate {name} made no component; expected cargo to name a .wasm file")))
}

/// Puts a component where a host looks for it, atomically: a running host must not see half of it.
fn place(name: String, artifact: &Path, out: &Path) -> Result<Built> {
    let path = out.join(format!("{name}.wasm"));
    let fail = |e: std::io::Error| Error::stop(format!("cannot write {}: {e}", path.display()));
    let bytes = std::fs::read(artifact).map_err(fail)?;
    let changed = std::fs::read(&path).map_or(true, |old| old != bytes);
    if changed {
        let fresh = out.join(format!(".{name}.wasm.{}", std::process::id()));
        std::fs::write(&fresh, &bytes).and_then(|()| std::fs::rename(&fresh, &path)).map_err(fail)?;
    }
    Ok(Built { name, path, bytes: bytes.len(), changed })
}

/// The cargo that runs us, if one does: it knows its toolchain.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells the program that it runs is not meant for the next cargo.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(name);
        }
    }
    command
}

fn no_cargo(e: &std::io::Error) -> Error {
    Error::stop(format!("cannot run cargo: {e}; install Rust with rustup to build transforms"))
}
