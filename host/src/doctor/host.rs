//! The host of this pipeline on this machine, if one runs, and the address that it serves its pages at.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::course::Course;
use super::ports;
use super::report::Finding;
use crate::observe::hosts::{self, Host};
use crate::sink::Keys;

/// All steps. `http` is the address of the setting of that name; none: hosts serve nothing.
pub(super) async fn run(mut course: Course, keys: &Keys, sockets: &[PathBuf], http: Option<&str>) {
    let found = course.step("running", &[], running(keys, sockets)).await.unwrap_or_default();
    if let Some(address) = http {
        course.step("http", &[], async { serves(address, &found) }).await;
    }
}

/// The processes of hosts that run.
async fn running(keys: &Keys, sockets: &[PathBuf]) -> Finding<Vec<u32>> {
    judge(&hosts::ask(sockets, Some(keys.segment())).await, keys.pipeline(), env!("CARGO_PKG_VERSION"))
}

fn judge(hosts: &[Host], pipeline: &str, version: &str) -> Finding<Vec<u32>> {
    let pids: Vec<u32> = hosts.iter().map(|host| host.pid).collect();
    let silent = hosts.iter().find_map(|host| Some((host, host.status.as_ref().err()?)));
    if let Some((host, why)) = silent {
        return Finding::failed(
            format!("process {} of pipeline {pipeline} does not say how it is: {why}", host.pid),
            format!("see its log; if it hangs: kill {} (its events are read again)", host.pid),
        );
    }
    let known: Vec<_> =
        hosts.iter().filter_map(|host| Some((host.pid, host.status.as_ref().ok()?))).collect();
    let attention =
        known.iter().flat_map(|(pid, status)| status.attention.iter().map(move |line| (pid, line)));
    let attention: Vec<String> = attention.map(|(pid, line)| format!("process {pid}: {line}")).collect();
    if !attention.is_empty() {
        return Finding::warning(attention.join("; "), "see tidemill status").with(pids);
    }
    let old = known.iter().find(|(_, status)| status.host.version != version);
    if let Some((pid, status)) = old {
        return Finding::warning(
            format!("process {pid} is of version {}, and this is {version}", status.host.version),
            "start it anew",
        )
        .with(pids);
    }
    let all =
        known.iter().map(|(pid, status)| format!("process {pid}, {} partitions", status.partitions.len()));
    let all: Vec<String> = all.collect();
    match all.is_empty() {
        true => Finding::ok(format!("no host of pipeline {pipeline} runs here as this user")),
        false => Finding::ok(format!("{} (tidemill status)", all.join("; "))),
    }
    .with(pids)
}

fn serves(address: &str, hosts: &[u32]) -> Finding {
    match address.parse::<SocketAddr>() {
        Ok(address) => ports::free(address, hosts, "http"),
        Err(_) => Finding::failed(
            format!("{address} is no address with a port (setting `http`)"),
            "http = \"127.0.0.1:8080\" (--http)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;
    use crate::observe::{About, Status};

    fn host(pid: u32, status: Result<(&str, &[&str]), &str>) -> Host {
        let status = status.map(|(version, attention)| Status {
            host: About { version: version.into(), ..About::default() },
            attention: attention.iter().map(|line| (*line).into()).collect(),
            ..Status::default()
        });
        Host { pid, path: PathBuf::new(), status: status.map_err(str::to_owned) }
    }

    #[test]
    fn how_hosts_are_is_told() {
        let state = |hosts: &[Host]| {
            let finding = judge(hosts, "p", "1.0");
            (finding.state, finding.found)
        };
        assert_eq!(state(&[]).0, State::Ok);
        assert_eq!(state(&[host(7, Ok(("1.0", &[])))]).0, State::Ok);
        let (failed, found) = state(&[host(7, Ok(("1.0", &[]))), host(8, Err("no answer"))]);
        assert!(failed == State::Failed && found.contains("process 8"), "{found}");
        let (warned, found) = state(&[host(7, Ok(("1.0", &["partition 2 stands still"])))]);
        assert!(warned == State::Warning && found.contains("stands still"), "{found}");
        assert_eq!(state(&[host(7, Ok(("0.9", &[])))]).0, State::Warning);
        assert_eq!(serves("nowhere", &[]).state, State::Failed);
    }
}
