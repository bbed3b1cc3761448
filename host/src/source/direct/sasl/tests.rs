//! SCRAM by the examples of its RFC, and sign-ins to brokers that take them, and that do not.

use kafka_protocol::messages::ApiKey;

use super::super::connection::tests::{Fake, Way, hear, say, security, tell};
use super::*;
use crate::error::Kind;

/// RFC 7677, 3.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const BOTH: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &str = "s=W22ZaJ0SNY7soEsUEjb6gQ==";

fn user(hash: &'static Hash, username: &'static str) -> Scram<'static> {
    Scram { hash, username, password: "pencil", nonce: NONCE.into() }
}

#[test]
fn scram_is_that_of_its_rfc() {
    let scram = user(&SHA_256, "user");
    assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (proof, signature) = scram.answer(format!("{BOTH},{SALT},i=4096").as_bytes()).unwrap();
    assert_eq!(proof, format!("c=biws,{BOTH},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", &signature).unwrap();
    check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=more", &signature).unwrap();
    for wrong in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=", "v=6rri", "v=?"] {
        assert!(check(wrong.as_bytes(), &signature).unwrap_err().contains("signature is wrong"), "{wrong}");
    }
    assert_eq!(check(b"e=other-error", &signature).unwrap_err(), "other-error");
    assert!(check(b"", &signature).is_err() && check(b"\xff", &signature).is_err());

    // With the other hash, a name that has to be escaped, and other iterations; computed with Python's hashlib.
    let scram = user(&SHA_512, "a,b=c");
    assert_eq!(scram.first(), "n,,n=a=2Cb=3Dc,r=rOprNGfwEbeRWgbNEkqO");
    let (proof, signature) = scram.answer(format!("{BOTH},{SALT},i=5000").as_bytes()).unwrap();
    assert_eq!(
        proof,
        format!(
            "c=biws,{BOTH},p=Bz99Qtaq09lxbcIRiVXiNKHlJNtlXpt1YWjHDPuIC/jqCBWinQ2czDlr4bUwGE62VLfw8oLLgi4JaXVzu66R+Q=="
        )
    );
    check(
        b"v=8Ljd6FrQinc0rCQmM/ZA3nJdH2T6PT1tiJG6h1WHaxqYBKyIPoZNEQYaHz29WdZr8GpS0h5gNAdLkcG2mVcyfw==",
        &signature,
    )
    .unwrap();
}

#[test]
fn a_challenge_that_means_harm_is_refused() {
    let scram = user(&SHA_256, "user");
    for (challenge, says) in [
        (String::new(), "has no r="),
        (format!("m=ext,{BOTH},{SALT},i=4096"), "has no r="),
        (format!("{BOTH},i=4096,{SALT}"), "has no s="),
        (format!("{BOTH},{SALT}"), "has no i="),
        (format!("r={NONCE},{SALT},i=4096"), "nonce"),
        (format!("r=x{NONCE},{SALT},i=4096"), "nonce"),
        (format!("{BOTH},s=???,i=4096"), "base64"),
        (format!("{BOTH},{SALT},i=4095"), "iterations"),
        (format!("{BOTH},{SALT},i=1000001"), "iterations"),
        (format!("{BOTH},{SALT},i=-1"), "iterations"),
        (format!("{BOTH},{SALT},i=99999999999999999999"), "iterations"),
    ] {
        let why = scram.answer(challenge.as_bytes()).map(|_| ()).unwrap_err();
        assert!(why.contains(says), "{challenge}: {why}");
    }
    assert!(scram.answer(b"\xff").is_err());
}

const VERSIONS: [(ApiKey, i16, i16); 2] = [(ApiKey::SaslHandshake, 0, 1), (ApiKey::SaslAuthenticate, 0, 1)];

fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// Lets the client begin.
fn begin(way: &mut dyn Way, mechanism: &str) {
    tell(way, &VERSIONS);
    let (key, number, body) = hear(way);
    assert_eq!((key, body), (ApiKey::SaslHandshake, text(mechanism)));
    say(way, number, &[&[0, 0, 0, 0, 0, 1][..], &text(mechanism)].concat());
}

/// Hears what the client says, and answers with what is made of it: an error's message or bytes.
fn next(way: &mut dyn Way, lifetime: i64, answer: impl FnOnce(&str) -> Result<String, &'static str>) {
    let (key, number, body) = hear(way);
    assert_eq!(key, ApiKey::SaslAuthenticate);
    let mut said = Vec::new();
    let bytes = match answer(std::str::from_utf8(&body[4..]).unwrap()) {
        Ok(bytes) => {
            said.extend([0, 0, 0xff, 0xff]);
            bytes
        }
        Err(message) => {
            said.extend([&[0, 58][..], &text(message)].concat());
            String::new()
        }
    };
    said.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
    said.extend(bytes.as_bytes());
    said.extend(lifetime.to_be_bytes());
    say(way, number, &said);
}

fn open(fake: &Fake, mechanism: &str) -> Result<Connection> {
    let security = security(&[
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "user"),
        ("sasl.password", "pencil"),
    ]);
    Connection::open(&fake.address, &security, "test")
}

/// What is said when the broker does not let the client in.
fn refused(fake: Fake, mechanism: &str) -> String {
    let error = open(&fake, mechanism).err().expect("a refusal");
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Stop, "{text}");
    assert!(text.contains(&fake.address) && !text.contains("pencil"), "{text}");
    fake.end();
    text
}

#[test]
fn a_password_is_shown_and_its_session_ends() {
    for (lifetime, old) in [(0, false), (1_000_000_000, false), (i64::MAX, false), (-1, false), (5, true)] {
        let fake = Fake::start(move |way| {
            begin(way, "PLAIN");
            next(way, lifetime, |said| {
                assert_eq!(said, "\0user\0pencil");
                Ok(String::new())
            });
        });
        let connection = open(&fake, "PLAIN").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(connection.is_old(), old, "{lifetime}");
        fake.end();
    }
    let fake = Fake::start(|way| {
        begin(way, "PLAIN");
        next(way, 0, |_| Err("Authentication failed:\nInvalid username or password"));
    });
    let text = refused(fake, "PLAIN");
    assert!(text.contains("Authentication failed: Invalid username or password"), "{text}");
    assert!(text.contains("sasl.username and sasl.password"), "{text}");
}

#[test]
fn a_mechanism_that_the_broker_does_not_have_is_named() {
    let fake = Fake::start(|way| {
        tell(way, &VERSIONS);
        let (_, number, _) = hear(way);
        say(way, number, &[&[0, 33, 0, 0, 0, 2][..], &text("GSSAPI"), &text("PLAIN")].concat());
    });
    let text = refused(fake, "SCRAM-SHA-256");
    assert!(text.contains("SCRAM-SHA-256") && text.contains("it has [GSSAPI, PLAIN]"), "{text}");
    let fake = Fake::start(|way| tell(way, &[]));
    assert!(refused(fake, "PLAIN").contains("no version of the request SaslHandshake"));
}

/// The broker's side, which knows the password as it is.
fn challenge(way: &mut dyn Way, mechanism: &'static str, hash: &'static Hash, honest: bool) {
    begin(way, mechanism);
    let (mut nonce, mut expected) = (String::new(), None);
    next(way, 0, |said| {
        nonce = said.strip_prefix("n,,n=user,r=").unwrap().into();
        let challenge = format!("r={nonce}theirs,{SALT},i=4096");
        expected = Scram { hash, username: "user", password: "pencil", nonce: nonce.clone() }
            .answer(challenge.as_bytes())
            .ok();
        Ok(challenge)
    });
    assert_eq!(nonce.len(), 32);
    let (proof, signature) = expected.unwrap();
    next(way, 0, |said| {
        assert_eq!(said, proof);
        let signature = if honest { signature.as_ref() } else { &[0; 32] };
        Ok(format!("v={}", BASE64.encode(signature)))
    });
}

#[test]
fn a_password_is_proven_by_both_sides() {
    for (mechanism, hash) in [("SCRAM-SHA-256", &SHA_256), ("SCRAM-SHA-512", &SHA_512)] {
        let fake = Fake::start(|way| challenge(way, mechanism, hash, true));
        open(&fake, mechanism).unwrap();
        fake.end();
        let fake = Fake::start(|way| challenge(way, mechanism, hash, false));
        let text = refused(fake, mechanism);
        assert!(text.contains(mechanism) && text.contains("signature is wrong"), "{text}");
    }
}

#[test]
fn a_token_is_shown() {
    let show = |explained: bool| {
        // It has signed in once, without anything that matters here.
        let fake = Fake::start(move |way| {
            begin(way, "PLAIN");
            next(way, 0, |_| Ok(String::new()));
            let (_, number, body) = hear(way);
            assert_eq!(body, text("OAUTHBEARER"));
            say(way, number, &[0; 6]);
            next(way, 1000, |said| {
                assert_eq!(said, "n,,\x01auth=Bearer s3cret\x01\x01");
                Ok(if explained { "{\"status\":\"invalid_token\"}".into() } else { String::new() })
            });
            if explained {
                next(way, 0, |said| {
                    assert_eq!(said, "\x01");
                    Err("Access denied")
                });
            }
        });
        let mut connection = open(&fake, "PLAIN").unwrap();
        let found = bearer(&mut connection, "s3cret");
        fake.end();
        found
    };
    assert_eq!(show(false).unwrap(), Some(Duration::from_secs(1)));
    let error = show(true).unwrap_err();
    assert_eq!(error.kind(), Kind::Stop);
    let text = error.to_string();
    assert!(text.contains("invalid_token") && text.contains("Access denied"), "{text}");
    assert!(text.contains("setting `auth`") && !text.contains("s3cret"), "{text}");
}
