use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::observe::{About, hosts};

fn answer(pipeline: &str) -> Answer {
    let host = About { pipeline: pipeline.into(), ..About::default() };
    let status = Status { host, ..Status::default() };
    Arc::new(move || {
        let status = status.clone();
        Box::pin(async move { status })
    })
}

fn open(directory: &Path, pipeline: &str) -> Socket {
    Socket::open(&[directory.to_owned()], pipeline, answer(pipeline)).unwrap()
}

fn directory() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("tidemill");
    (folder, directory)
}

async fn pipelines(directory: &Path, wanted: Option<&str>) -> Vec<String> {
    let hosts = hosts::ask(&[directory.to_owned()], wanted).await;
    hosts.into_iter().map(|host| host.status.unwrap().host.pipeline).collect()
}

/// What the socket says to this request.
async fn said(socket: &Socket, request: Vec<u8>) -> String {
    let path = socket.path().to_owned();
    let talk = move || {
        let mut stream = Blocking::connect(path).unwrap();
        // It may have heard enough before all is sent.
        let _ = stream.write_all(&request);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer).unwrap_or_else(|e| e.to_string())
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hosts_or_one_pipelines_answer_and_go() {
    let (_folder, directory) = directory();
    let long = "y".repeat(200);
    let (one, two, three) = (open(&directory, "one"), open(&directory, "two"), open(&directory, &long));
    assert_eq!(pipelines(&directory, None).await.len(), 3);
    assert_eq!(pipelines(&directory, Some("two")).await, ["two"]);
    assert_eq!(pipelines(&directory, Some(&long)).await.as_slice(), std::slice::from_ref(&long));
    assert!(pipelines(&directory, Some("tw")).await.is_empty());
    assert!(Socket::open(std::slice::from_ref(&directory), "one", answer("one")).is_none(), "it is in use");
    drop(one);
    let mut left = pipelines(&directory, None).await;
    left.sort();
    assert_eq!(left, ["two", &long]);
    drop((two, three));
    assert!(pipelines(&directory, None).await.is_empty());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_host_left_goes() {
    let (_folder, directory) = directory();
    let socket = open(&directory, "alive");
    let dead = directory.join("dead-1.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let others = ["dead-1.sock.new", "notes.txt"].map(|name| directory.join(name));
    others.iter().for_each(|path| fs::write(path, "").unwrap());
    assert!(dead.exists());
    assert_eq!(pipelines(&directory, None).await, ["alive"]);
    assert!(!dead.exists() && others.iter().all(|path| path.exists()));

    // A process of the same number takes the place at once.
    let path = socket.path().to_owned();
    drop(socket);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _again = open(&directory, "alive");
    assert_eq!(pipelines(&directory, None).await, ["alive"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused() {
    let (_folder, directory) = directory();
    let socket = open(&directory, "one");
    let garbage: [&[u8]; 6] =
        [b"\n", b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"{\"ask\":\"stop\"}\n", b"[[[[[\n", &[0xff, 0, b'\n']];
    for request in garbage {
        let said = said(&socket, request.into()).await;
        assert!(said.starts_with("{\"error\":\"expected one line of JSON"), "{said}");
    }
    let huge = said(&socket, vec![b'x'; 10 << 20]).await;
    assert!(huge.contains("more than 4096 bytes") || huge.contains("reset"), "{huge}");
    let just = format!("{{\"ask\":\"status\"{}}}\n", " ".repeat(REQUEST - 17));
    assert!(said(&socket, just.into()).await.contains("\"pipeline\":\"one\""));
    assert_eq!(pipelines(&directory, None).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_holds_up_nobody_for_long() {
    let (_folder, directory) = directory();
    let socket = open(&directory, "one");
    let began = Instant::now();
    let slow: Vec<Blocking> = (0..ABREAST + 3).map(|_| Blocking::connect(socket.path()).unwrap()).collect();
    assert_eq!(pipelines(&directory, None).await, ["one"]);
    let waited = began.elapsed();
    assert!(waited >= EXCHANGE / 2, "they held no place: {waited:?}");
    assert!(waited < EXCHANGE * 2, "{waited:?}");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_runs_without_a_socket_and_finds_the_next_place() {
    let (folder, directory) = directory();
    let others = folder.path().join("open");
    fs::create_dir(&others).unwrap();
    fs::set_permissions(&others, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Socket::open(std::slice::from_ref(&others), "one", answer("one")).is_none());
    assert!(Socket::open(&[], "one", answer("one")).is_none());
    let socket = Socket::open(&[others.clone(), directory.clone()], "one", answer("one")).unwrap();
    assert!(socket.path().starts_with(&directory));
    // Nor is anybody asked there.
    let _stranger = std::os::unix::net::UnixListener::bind(others.join("x-1.sock")).unwrap();
    assert!(pipelines(&others, None).await.is_empty());
}
