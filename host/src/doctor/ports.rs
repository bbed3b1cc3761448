//! Who holds a port of this machine, from `/proc`: without `lsof`, and without being root for one's own processes.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::report::Finding;

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Where.
    pub(super) address: SocketAddr,
    /// The user that it belongs to.
    pub(super) user: u32,
    /// Its process with its name; none: another user's, which this one may not look at.
    pub(super) process: Option<(u32, String)>,
    inode: u64,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(f, "{name} (process {pid})"),
            None => write!(f, "a process of user {}", self.user),
        }
    }
}

/// Who listens on a port of this machine, at whatever address; none: this system does not tell.
pub(super) fn listeners(port: u16) -> Option<Vec<Listener>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).ok());
    if tables.iter().all(Option::is_none) {
        return None;
    }
    let mut found: Vec<Listener> = tables.iter().flatten().flat_map(|table| parse(table)).collect();
    found.retain(|listener| listener.address.port() == port);
    if !found.is_empty() {
        let mut processes = processes(&found.iter().map(|listener| listener.inode).collect::<Vec<_>>());
        for listener in &mut found {
            listener.process = processes.remove(&listener.inode);
        }
    }
    Some(found)
}

/// Those of them that a client of this address reaches.
pub(super) fn at(address: SocketAddr) -> Option<Vec<Listener>> {
    let mut found = listeners(address.port())?;
    found.retain(|listener| {
        let ip = listener.address.ip().to_canonical();
        ip.is_unspecified() || ip == address.ip().to_canonical()
    });
    Some(found)
}

/// Whether an address is this machine's own.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || TcpListener::bind((ip, 0)).is_ok()
}

/// Why a port of this machine refuses, in words that go on a sentence.
pub(super) fn refused(address: SocketAddr) -> String {
    let port = address.port();
    match listeners(port) {
        None => format!("nothing seems to listen there; `lsof -i :{port}` tells"),
        Some(none) if none.is_empty() => format!("nothing listens on port {port} of this machine"),
        Some(found) => {
            let where_else: Vec<String> =
                found.iter().map(|one| format!("{one} listens at {}", one.address)).collect();
            format!("nothing listens at that address; {}", where_else.join(", "))
        }
    }
}

/// Who answers at an address of this machine, in words that go on a sentence; none: nobody knows.
pub(super) fn held(address: SocketAddr) -> Option<String> {
    is_local(address.ip()).then(|| at(address)).flatten()?.first().map(ToString::to_string)
}

/// Whether a host could listen at an address. `hosts` are the processes of hosts that run already.
pub(super) fn free(address: SocketAddr, hosts: &[u32], setting: &str) -> Finding {
    let elsewhere = format!("choose another, as `{setting} = \"127.0.0.1:8081\"` (--{setting})");
    let failed = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(format!("{address} is free")),
        Err(failed) => failed,
    };
    if failed.kind() != std::io::ErrorKind::AddrInUse {
        return Finding::failed(
            format!("cannot listen at {address} (setting `{setting}`): {failed}"),
            elsewhere,
        );
    }
    let found = at(address).unwrap_or_default();
    let pid = found.iter().find_map(|one| one.process.as_ref().map(|(pid, _)| *pid));
    match (found.first(), pid) {
        (_, Some(pid)) if hosts.contains(&pid) => {
            Finding::ok(format!("{address} is served by the host that runs (process {pid})"))
        }
        (Some(one), Some(pid)) => Finding::failed(
            format!("{address} is held by {one}"),
            format!("{elsewhere}, or end that process (`ps -fp {pid}` shows it)"),
        ),
        (Some(one), None) => Finding::failed(format!("{address} is held by {one}"), elsewhere),
        (None, _) => Finding::failed(format!("{address} is in use"), elsewhere),
    }
}

/// The listening sockets of a table as Linux prints it.
fn parse(table: &str) -> Vec<Listener> {
    const LISTENS: &str = "0A";
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, user, _, inode, ..] = fields[..] else { return None };
        let (ip, port) = local.split_once(':')?;
        let address = SocketAddr::new(ip_of(ip)?, u16::from_str_radix(port, 16).ok()?);
        let (user, inode) = (user.parse().ok()?, inode.parse().ok()?);
        (state == LISTENS).then_some(Listener { address, user, process: None, inode })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// An address in hexadecimal: words of 32 bits, each in the order of this machine.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The processes that have these sockets open, as far as this user may look. A command line may hold a secret, so
/// only the process's name is read.
fn processes(inodes: &[u64]) -> HashMap<u64, (u32, String)> {
    let mut found = HashMap::new();
    let Ok(all) = std::fs::read_dir("/proc") else { return found };
    for entry in all.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(open) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        for file in open.flatten() {
            let Ok(target) = std::fs::read_link(file.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            let Some(inode) = inode.and_then(|text| text.parse().ok()) else { continue };
            if inodes.contains(&inode) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.insert(inode, (pid, name.trim().to_owned()));
            }
        }
        if found.len() == inodes.len() {
            break;
        }
    }
    found
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::super::report::State;
    use super::*;

    #[test]
    fn the_owner_of_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let found = at(address).expect("Linux tells");
        assert_eq!(found.len(), 1);
        let (pid, name) = found[0].process.clone().expect("it is ours");
        assert_eq!(pid, std::process::id());
        assert!(!name.is_empty());
        assert_eq!(held(address), Some(format!("{name} (process {pid})")));
        let elsewhere = SocketAddr::new("127.0.0.2".parse().expect("an address"), address.port());
        assert_eq!(at(elsewhere), Some(vec![]));
        assert!(refused(elsewhere).contains(&format!("(process {pid}) listens at {address}")));
        drop(listener);
        assert_eq!(at(address), Some(vec![]));
        assert!(refused(address).starts_with("nothing listens on port"));
    }

    #[test]
    fn a_host_may_listen_where_nobody_does_or_where_it_does_already() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let me = std::process::id();
        let taken = free(address, &[], "http");
        assert_eq!(taken.state, State::Failed);
        assert!(taken.found.contains(&format!("process {me}")), "{}", taken.found);
        assert!(taken.remedy.expect("one").contains("--http"));
        assert_eq!(free(address, &[me], "http").state, State::Ok);
        drop(listener);
        assert_eq!(free(address, &[], "http").state, State::Ok);
        let elsewhere = "192.0.2.1:80".parse().expect("an address of nobody");
        assert_eq!(free(elsewhere, &[], "http").state, State::Failed);
    }

    #[test]
    fn tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1
   2: nonsense";
        let found = parse(table);
        assert_eq!(found.len(), 1, "one of them listens");
        assert_eq!(found[0].address, "127.0.0.1:8080".parse().expect("an address"));
        assert_eq!((found[0].user, found[0].inode), (1000, 4711));
        assert_eq!(ip_of("00000000000000000000000001000000"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(ip_of("1"), None);
    }
}
