//! Where the sockets of this user's hosts lie, and what they are called.
//!
//! A directory is used only if it is this user's and nobody else can look into it: who reaches a socket in it is this
//! user. A socket is `<pipeline>-<pid>.sock`. What does not end in `.sock` is not ready yet.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::digest::sha256;

/// Bytes that a socket's path may have: 108 in Linux and 104 elsewhere, with a zero at the end.
const LONGEST: usize = 103;
const ENDING: &str = ".sock";
/// A socket that does not listen yet: who finds it must not take it for one that a dead host has left.
pub(super) const UNREADY: &str = ".new";

/// The directories of this user, the one that is to be used first. There may be hosts in each of them: a service
/// often has no `XDG_RUNTIME_DIR` where its user's terminal has one.
pub fn of_user() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let own = format!("tidemill-{}", me());
    let temporary = [std::env::temp_dir(), PathBuf::from("/tmp")].map(|directory| directory.join(&own));
    let mut all: Vec<PathBuf> = runtime.map(|directory| directory.join("tidemill")).into_iter().collect();
    for directory in temporary {
        if !all.contains(&directory) {
            all.push(directory);
        }
    }
    all
}

/// Makes a directory if there is none. An error says why it may not be used.
pub(super) fn prepare(directory: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e.to_string()),
        _ => ours(directory),
    }
}

/// An error says why a directory may not be used.
pub(super) fn ours(directory: &Path) -> Result<(), String> {
    // A link is not followed: another user's may lead anywhere.
    let found = fs::symlink_metadata(directory).map_err(|e| e.to_string())?;
    if !found.is_dir() {
        return Err("it is no directory".into());
    }
    if found.uid() != me() {
        return Err(format!("it belongs to user {} and this process runs as {}", found.uid(), me()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!("it is open to others (mode {:03o}); chmod 700", found.mode() & 0o777));
    }
    Ok(())
}

/// The socket of a host. None: the directory's path is too long for any.
pub(super) fn socket(directory: &Path, segment: &str, pid: u32) -> Option<PathBuf> {
    let mut paths = stems(segment).into_iter().map(|stem| directory.join(format!("{stem}-{pid}{ENDING}")));
    paths.find(|path| path.as_os_str().len() + UNREADY.len() <= LONGEST)
}

/// What a file name says of a host: its pipeline, as in [`is_of`], and its process. None: it is no socket.
pub(super) fn parse(name: &str) -> Option<(&str, u32)> {
    let (stem, pid) = name.strip_suffix(ENDING)?.rsplit_once('-')?;
    Some((stem, pid.parse().ok()?))
}

/// Whether a socket's name is that of a pipeline.
pub(super) fn is_of(stem: &str, segment: &str) -> bool {
    stems(segment).iter().any(|one| one == stem)
}

/// A name, and the one in its place where it is too long.
fn stems(segment: &str) -> [String; 2] {
    [segment.into(), sha256(segment.as_bytes())[..16].into()]
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_is_named_by_pipeline_and_process() {
        let path = socket(Path::new("/run/tidemill"), "my-pipe", 17).unwrap();
        assert_eq!(path, Path::new("/run/tidemill/my-pipe-17.sock"));
        assert_eq!(parse("my-pipe-17.sock"), Some(("my-pipe", 17)));
        for other in ["my-pipe-17.sock.new", "my-pipe-x.sock", "17.sock", "readme"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_hashed_and_found_again() {
        let long = "x".repeat(384);
        let path = socket(Path::new("/run/user/1000/tidemill"), &long, u32::MAX).unwrap();
        assert!(path.as_os_str().len() + UNREADY.len() <= LONGEST, "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        let (stem, pid) = parse(name).unwrap();
        assert!(is_of(stem, &long) && !is_of(stem, "y") && pid == u32::MAX, "{name}");
        assert_eq!(socket(&Path::new("/").join("d".repeat(90)), "p", 1), None);
    }

    #[test]
    fn a_directory_of_others_or_open_to_others_is_not_used() {
        let folder = tempfile::TempDir::new().unwrap();
        let directory = folder.path().join("tidemill");
        prepare(&directory).unwrap();
        prepare(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);

        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(prepare(&directory).unwrap_err().contains("mode 750"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(prepare(&link).unwrap_err().contains("no directory"));
        assert!(prepare(&folder.path().join("missing/tidemill")).is_err());
    }
}
