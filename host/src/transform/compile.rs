//! Compiles a component, which is a stranger's program: in a child process that has bounds, or here.
//!
//! A small component can keep a compiler busy for hours, or make it take all memory. The child bounds itself before
//! it reads anything; the parent bounds its time and what it says, and makes a sentence of each way to end.
//! [`serve`] is the child's side.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use super::engine;
use crate::{Error, Result};

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiling {
    /// In this process, without bounds.
    Here,
    /// In a child process.
    Child {
        /// The `tidemill` command.
        program: PathBuf,
        /// What one component may take.
        caps: Caps,
    },
}

/// What compiling one component may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of address space.
    pub memory: u64,
    /// Seconds of CPU time.
    pub cpu: u64,
    /// Time on the clock.
    pub wall: Duration,
    /// Bytes of the artifact.
    pub artifact: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { memory: 2 << 30, cpu: 60, wall: Duration::from_secs(90), artifact: 512 << 20 }
    }
}

/// Bytes of what a child says that are kept.
const WORDS: u64 = 4096;
/// The name of the command that is the child.
pub(crate) const COMMAND: &str = "compile-component";

/// The program that compiles for this process.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

impl Compiling {
    /// From now on [`of_process`](Compiling::of_process) compiles in children. For the `tidemill` command only: the
    /// program of this process must know the command `compile-component`.
    pub(crate) fn in_children() -> Result<()> {
        // Stays the same program when another one is installed in its place.
        let program = match cfg!(target_os = "linux") {
            true => "/proc/self/exe".into(),
            false => std::env::current_exe()
                .map_err(|e| Error::stop(format!("cannot find the program of this process: {e}")))?,
        };
        let _ = PROGRAM.set(program);
        Ok(())
    }

    /// In children if this process is the `tidemill` command; in a test or in somebody's own program: here.
    pub fn of_process() -> Compiling {
        match PROGRAM.get() {
            Some(program) => Compiling::Child { program: program.clone(), caps: Caps::default() },
            None => Compiling::Here,
        }
    }

    /// Compiles a component; gives the artifact. Validates it first.
    pub(super) fn compile(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Result<Vec<u8>> {
        match self {
            Compiling::Here => engine.precompile_component(wasm).map_err(|e| bad(&engine::first_line(&e))),
            Compiling::Child { program, caps } => in_child(program, caps, wasm),
        }
    }
}

fn bad(why: &str) -> Error {
    Error::usage(format!("expected a component, found one that does not compile: {why}"))
}

/// The child: bounds itself, reads a component from stdin and writes the artifact to stdout.
pub(crate) fn serve(memory: u64, cpu: u64) -> Result<()> {
    let stop = |what: &str, e: std::io::Error| Error::stop(format!("cannot {what}: {e}"));
    confine(memory, cpu).map_err(|e| stop("set the bounds of this process", e))?;
    let engine = wasmtime::Engine::new(&engine::config())
        .map_err(|e| Error::stop(format!("cannot start the WebAssembly engine: {e:#}")))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|e| stop("read the component", e))?;
    let artifact = Compiling::Here.compile(&engine, &wasm).map_err(|e| Error::stop(e.to_string()))?;
    std::io::stdout().lock().write_all(&artifact).map_err(|e| stop("write the artifact", e))
}

#[cfg(unix)]
fn confine(memory: u64, cpu: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    let limit = |soft, hard| Rlimit { current: Some(soft), maximum: Some(hard) };
    setrlimit(Resource::Core, limit(0, 0))?;
    // SIGXCPU first, which says why it ends; SIGKILL a second later.
    setrlimit(Resource::Cpu, limit(cpu, cpu.saturating_add(1)))?;
    // Not every system has it.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    setrlimit(Resource::As, limit(memory, memory))?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = memory;
    // Lanes go first.
    nice(10)?;
    Ok(())
}

#[cfg(not(unix))]
fn confine(_memory: u64, _cpu: u64) -> std::io::Result<()> {
    Ok(())
}

fn in_child(program: &Path, caps: &Caps, wasm: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.arg(COMMAND).args(["--memory", &caps.memory.to_string(), "--cpu", &caps.cpu.to_string()]);
    // It needs nothing of the host's environment, least of all its secrets; but its libraries must be found.
    let libraries = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];
    command.env_clear().envs(libraries.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "tidemill");
    let cannot = |e: std::io::Error| Error::stop(format!("cannot start its compiler: {e}"));
    let mut child = command.spawn().map_err(cannot)?;
    let conversation = converse(&mut child, caps, wasm);
    if conversation.is_err() {
        end(&mut child);
    }
    let Conversation { status, artifact, words } = conversation.map_err(cannot)?;
    if artifact.len() > caps.artifact {
        return Err(Error::usage(format!("it compiles to more than {} MiB", caps.artifact >> 20)));
    }
    match status {
        None => Err(Error::usage(format!("compiling it took more than {:?}", caps.wall))),
        Some(status) if status.success() => Ok(artifact),
        Some(status) => Err(ended(status, &words, caps)),
    }
}

/// What a child said, and how it ended; none: it had to be ended.
struct Conversation {
    status: Option<ExitStatus>,
    artifact: Vec<u8>,
    words: String,
}

/// Feeds the child and listens on both of its streams at the same time: a full pipe would stop it.
fn converse(child: &mut Child, caps: &Caps, wasm: &[u8]) -> std::io::Result<Conversation> {
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(mut stderr)) = streams else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    thread::scope(|scope| {
        let begun = || -> std::io::Result<_> {
            let spawn = || thread::Builder::new().name("compile".into());
            // A child that has ended reads no more, and says itself why.
            spawn().spawn_scoped(scope, move || drop(stdin.write_all(wasm)))?;
            let artifact = spawn().spawn_scoped(scope, move || {
                let mut artifact = Vec::new();
                // Beyond its bound the pipe is closed, and the child cannot write.
                let most = u64::try_from(caps.artifact).unwrap_or(u64::MAX).saturating_add(1);
                stdout.take(most).read_to_end(&mut artifact).map(|_| artifact)
            })?;
            let words = spawn().spawn_scoped(scope, move || {
                let mut words = Vec::new();
                let _ = stderr.by_ref().take(WORDS).read_to_end(&mut words);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                String::from_utf8_lossy(&words).into_owned()
            })?;
            Ok((artifact, words))
        };
        // The threads end with the child, and the scope with the threads.
        let (artifact, words) = begun().inspect_err(|_| end(child))?;
        let status = wait(child, caps.wall).inspect_err(|_| end(child))?;
        let panicked = |_| std::io::Error::other("a thread panicked");
        Ok(Conversation {
            status,
            artifact: artifact.join().map_err(panicked)??,
            words: words.join().map_err(panicked)?,
        })
    })
}

/// Waits until the child ends; none: it took too long and was killed.
fn wait(child: &mut Child, wall: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= wall {
            end(child);
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a child whose answer no longer matters.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Why a child ended without an artifact.
fn ended(status: ExitStatus, words: &str, caps: &Caps) -> Error {
    let line = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
    // What Rust says when memory ends, and what the system says.
    if ["memory allocation of", "annot allocate memory"].iter().any(|said| words.contains(said)) {
        return Error::usage(format!("compiling it took more than {} MiB of memory", caps.memory >> 20));
    }
    if status.code() == Some(1) {
        let said = line(words.trim_start_matches("error: "));
        // The component's fault is told as it would be without a child; anything else is this host's.
        return match said.strip_prefix("expected a component, found one that does not compile: ") {
            Some(why) => bad(why),
            None => Error::stop(format!("its compiler failed: {said}")),
        };
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        use rustix::process::Signal;
        return match signal {
            s if s == Signal::XCPU.as_raw() => {
                Error::usage(format!("compiling it took more than {} s of CPU", caps.cpu))
            }
            s if s == Signal::KILL.as_raw() => Error::stop(
                "its compiler was killed, perhaps since the machine's memory ended; give the host more memory",
            ),
            signal => Error::usage(format!("its compiler crashed by signal {signal}: {}", line(words))),
        };
    }
    Error::stop(format!("its compiler failed ({status}): {}", line(words)))
}
