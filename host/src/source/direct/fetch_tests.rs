use super::*;

/// An answer as a broker of that version writes it: two partitions, the first with an aborted transaction.
fn answer(version: i16) -> Vec<u8> {
    let mut to = Vec::new();
    let count = |to: &mut Vec<u8>, count: i32| match version >= FLEXIBLE {
        true => to.push(u8::try_from(count + 1).expect("small")),
        false => to.extend(count.to_be_bytes()),
    };
    // One tag that nobody knows, of three bytes.
    let tags = |to: &mut Vec<u8>| {
        if version >= FLEXIBLE {
            to.extend([1, 9, 3, 1, 2, 3]);
        }
    };
    to.extend(250_i32.to_be_bytes());
    if version >= OWN_ERROR {
        to.extend([0; 6]);
    }
    count(&mut to, 1);
    match version >= FLEXIBLE {
        true => to.extend(b"\x06topic"),
        false => to.extend(b"\0\x05topic"),
    }
    count(&mut to, 2);
    for (partition, error, records) in [(7_i32, 0_i16, &b"batches"[..]), (8, 6, b"")] {
        to.extend(partition.to_be_bytes());
        to.extend(error.to_be_bytes());
        to.extend([0xff; 16]);
        if version >= LOG_START {
            to.extend([0xff; 8]);
        }
        count(&mut to, if error == 0 { 1 } else { -1 });
        if error == 0 {
            to.extend(3_i64.to_be_bytes());
            to.extend(70_i64.to_be_bytes());
            tags(&mut to);
        }
        if version >= REPLICA {
            to.extend((-1_i32).to_be_bytes());
        }
        count(&mut to, i32::try_from(records.len()).expect("small"));
        to.extend(records);
        tags(&mut to);
    }
    tags(&mut to);
    tags(&mut to);
    to
}

fn read(version: i16, bytes: &[u8]) -> io::Result<(Duration, Vec<Answered>)> {
    let (mut from, mut found) = (bytes.take(bytes.len() as u64), Vec::new());
    let wire = Wire { from: &mut from, flexible: version >= FLEXIBLE, most: 1 << 10 };
    let pause = { wire }.answer(version, &mut |answered| found.push(answered))?;
    if from.limit() == 0 { Ok((pause, found)) } else { Err(wrong("a rest")) }
}

#[test]
fn each_version_is_read() {
    for version in VERSIONS {
        let (pause, found) =
            read(version, &answer(version)).unwrap_or_else(|e| panic!("version {version}: {e}"));
        let aborted = vec![Aborted { first: 70, producer: 3 }];
        let wanted = [
            Answered { partition: 7, error: 0, aborted, records: b"batches".to_vec() },
            Answered { partition: 8, error: 6, aborted: vec![], records: vec![] },
        ];
        assert_eq!((pause, &found[..]), (Duration::from_millis(250), &wanted[..]), "version {version}");
    }
}

#[test]
fn what_a_broker_claims_is_not_believed() {
    for version in VERSIONS {
        let whole = answer(version);
        for end in 0..whole.len() {
            assert!(read(version, &whole[..end]).is_err(), "version {version}, {end} bytes");
        }
        // Each byte in turn is every other one: never a panic, never memory that is not there.
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xfe, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                if let Ok((_, found)) = read(version, &bytes) {
                    let room: usize = found.iter().map(|found| found.records.capacity()).sum();
                    assert!(room <= 2 * whole.len(), "version {version}: {room} bytes for {}", whole.len());
                }
            }
        }
    }
    let mut refused = answer(12);
    refused[5] = 89;
    let error = read(12, &refused).expect_err("the whole answer is an error");
    assert!(error.to_string().contains("ThrottlingQuotaExceeded"), "{error}");
}
