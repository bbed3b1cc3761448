//! What properties of librdkafka make of a connection, and which are refused.

use super::*;
use crate::error::Kind;

/// An authority, until 2120.
pub(in super::super) const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBPDCB46ADAgECAgEBMAoGCCqGSM49BAMCMA0xCzAJBgNVBAMMAmNhMCAXDTIw
MDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjANMQswCQYDVQQDDAJjYTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABCdz/AEODQVGNvcOi2Iks2bbHaNm8qV5sMGR
bLU8WYc4GL92JOzaORFHYXHV6wCCbWxnBbsAeQ4kcMo8KbcvBpCjMjAwMA8GA1Ud
EwEB/wQFMAMBAf8wHQYDVR0OBBYEFEqiYpnmF82vt2U6Q+kU5D9lEo5yMAoGCCqG
SM49BAMCA0gAMEUCIQDw19Qd2NzsKENleZYv99+ydvupI0AiADhuYia7KykzoQIg
Pevam2zt6OVosNbpVdh+JghFzpihsac9GTwRsPaqFVA=
-----END CERTIFICATE-----
";
/// Another one.
pub(in super::super) const OTHER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBQTCB6aADAgECAgECMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMMBW90aGVyMCAX
DTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAQMQ4wDAYDVQQDDAVvdGhl
cjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAxiuAXZVgxdB5qJRfziPXHQQ4W8
YgGdwYJFHIMqAAY6nPdIK3ViK6PZP9asz/ef58Wyx570dWLwRWo9By+A2fGjMjAw
MA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFI4A0PbyoI1VEPtHeM/COgL3VZhZ
MAoGCCqGSM49BAMCA0cAMEQCIFHFCxrvwMN4jBsD4zLPSfv0O2Cs8T17pOXIGos2
8NU0AiBHZo+LrsYduYsZATlDqxc6yKotvGbtPFgN4U5Kr/I8PA==
-----END CERTIFICATE-----
";
/// A broker on this machine, whom [`CA`] vouches for; it serves as a client, too.
pub(in super::super) const BROKER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBeTCCAR6gAwIBAgIBAzAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0y
MDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowETEPMA0GA1UEAwwGYnJva2Vy
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMtHNlE1CnF5tP0vc6sLmpw/gN/mT
6lVYNmmHzeJDD3LotimPWyDwivyik7ggdxbumyol7gtV0me9leX88KiQH6NpMGcw
CQYDVR0TBAIwADAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwHQYDVR0OBBYE
FFM6ULgmuTA7ulbesu4SbM+Awf+gMB8GA1UdIwQYMBaAFEqiYpnmF82vt2U6Q+kU
5D9lEo5yMAoGCCqGSM49BAMCA0kAMEYCIQCGgirHuEq1NIlD1XNdYSonS4LU9oYU
L/+3hDNT6JJFgAIhAKNeFaQsddGMoevrGrCb9gejqssTmL0+GHeI17D316An
-----END CERTIFICATE-----
";
/// Its key, which protects nothing.
pub(in super::super) const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnQ7aLfq4PS98ArUc
FUf6nt0BW8hD3/5JqLaA6ziuftahRANCAAQy0c2UTUKcXm0/S9zqwuanD+A3+ZPq
VVg2aYfN4kMPcui2KY9bIPCK/KKTuCB3Fu6bKiXuC1XSZ72V5fzwqJAf
-----END PRIVATE KEY-----
";

fn of(properties: &[(&str, &str)]) -> Result<Security> {
    with(Auth::Properties, properties)
}

fn with(auth: Auth, properties: &[(&str, &str)]) -> Result<Security> {
    let librdkafka = properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Security::of(&Settings { librdkafka, auth, brokers: "b:9098".into(), ..Settings::default() })
}

/// What is said of properties that are refused. It is never a secret.
fn refused(properties: &[(&str, &str)]) -> String {
    let error = of(properties).expect_err("a refusal");
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Usage, "{text}");
    assert!(!text.contains("PRIVATE") && !text.contains("hunter2"), "{text}");
    text
}

const TLS: (&str, &str) = ("security.protocol", "ssl");
const TRUST: (&str, &str) = ("ssl.ca.pem", CA);
const SASL: (&str, &str) = ("security.protocol", "sasl_plaintext");
const USER: (&str, &str) = ("sasl.username", "user");
const PASSWORD: (&str, &str) = ("sasl.password", "hunter2");

#[test]
fn the_protocol_is_read_as_librdkafka_reads_it() {
    let plain = ("sasl.mechanism", "PLAIN");
    for (protocol, tls, sasl) in [
        (None, false, false),
        (Some("plaintext"), false, false),
        (Some(" SSL "), true, false),
        (Some("Sasl_Plaintext"), false, true),
        (Some("SASL_SSL"), true, true),
    ] {
        let mut properties = vec![TRUST, plain, USER, PASSWORD];
        properties.extend(protocol.map(|protocol| ("security.protocol", protocol)));
        let found = of(&properties).unwrap();
        assert_eq!((found.tls().is_some(), found.identity().is_some()), (tls, sasl), "{protocol:?}");
        assert!(!format!("{found:?}").contains("hunter2"));
    }
    assert!(refused(&[("security.protocol", "tls")]).contains("security.protocol=tls"));
    // Where it means nothing, nothing is refused.
    of(&[("ssl.key.password", "hunter2"), ("sasl.mechanism", "GSSAPI"), ("fetch.min.bytes", "1")]).unwrap();
}

#[test]
fn what_we_do_not_have_is_refused() {
    for (name, value) in [
        ("client.rack", "a"),
        ("ssl.key.password", "hunter2"),
        ("ssl.keystore.location", "f"),
        ("ssl.keystore.password", "hunter2"),
        ("ssl.engine.id", "e"),
        ("ssl.engine.location", "e"),
        ("ssl.providers", "legacy"),
        ("ssl.cipher.suites", "DEFAULT"),
        ("ssl.curves.list", "P-256"),
        ("ssl.sigalgs.list", "x"),
        ("ssl.crl.location", "f"),
        ("ssl_ca", "x"),
        ("ssl.certificate.verify_cb", "x"),
        ("ssl.comes.later", "x"),
        ("sasl.oauthbearer.config", "hunter2"),
        ("sasl.oauthbearer.client.secret", "hunter2"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.kerberos.keytab", "f"),
    ] {
        let text = refused(&[
            ("security.protocol", "sasl_ssl"),
            TRUST,
            ("sasl.mechanism", "PLAIN"),
            USER,
            PASSWORD,
            (name, value),
        ]);
        assert!(text.contains(&format!("property {name} ")) && text.contains("fetch = librdkafka"), "{text}");
    }
    for (name, good, bad) in [
        ("enable.ssl.certificate.verification", "TRUE", "false"),
        ("ssl.endpoint.identification.algorithm", "https", "none"),
    ] {
        of(&[TLS, TRUST, (name, good)]).unwrap();
        let text = refused(&[TLS, TRUST, (name, bad)]);
        assert!(text.contains(&format!("{name}={bad} ")) && text.contains("fetch = librdkafka"), "{text}");
    }
}

#[test]
fn mechanisms_have_two_names_and_three_values() {
    for mechanism in Mechanism::ALL {
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            let found = of(&[SASL, (name, mechanism.name()), USER, PASSWORD]).unwrap();
            let Some(Identity::Password { mechanism: found, username, password }) = found.identity() else {
                panic!("no identity")
            };
            assert_eq!((*found, username.as_str(), password.as_str()), (mechanism, "user", "hunter2"));
        }
    }
    for other in ["GSSAPI", "OAUTHBEARER", "SCRAM-SHA-1", "plain"] {
        let text = refused(&[SASL, ("sasl.mechanisms", other), USER, PASSWORD]);
        assert!(text.contains(&format!("sasl.mechanism={other} ")) && text.contains("librdkafka"), "{text}");
    }
    assert!(refused(&[SASL, USER, PASSWORD]).contains("sasl.mechanism=GSSAPI"));
    let both = refused(&[SASL, ("sasl.mechanism", "PLAIN"), ("sasl.mechanisms", "SCRAM-SHA-512")]);
    assert!(both.contains("take one of them"), "{both}");
    for (given, needed) in [(USER, "sasl.password"), (PASSWORD, "sasl.username")] {
        let text = refused(&[SASL, ("sasl.mechanism", "PLAIN"), given]);
        assert!(text.contains(&format!("property {needed} is needed")), "{text}");
    }
}

#[test]
fn iam_signs_in_over_tls() {
    let found = with(Auth::MskIam, &[TRUST]).unwrap();
    assert!(found.tls().is_some());
    assert!(matches!(found.identity(), Some(Identity::MskIam { brokers }) if brokers == "b:9098"));
    // As librdkafka has it: what people set themselves is set last.
    assert!(with(Auth::MskIam, &[SASL]).unwrap().tls().is_none());
}

#[test]
fn files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, certificate, key) = (file("ca", CA), file("certificate", BROKER), file("key", KEY));
    let own = [("ssl.certificate.location", certificate.as_str()), ("ssl.key.location", &key)];
    of(&[TLS, ("ssl.ca.location", &ca), own[0], own[1]]).unwrap();
    // A folder's files have names that tell what is in them.
    let place = folder.path().to_str().unwrap();
    assert!(refused(&[TLS, ("ssl.ca.location", place)]).contains("openssl rehash"));
    file("0123abcd.0", CA);
    of(&[TLS, ("ssl.ca.location", place)]).unwrap();
    // Whom the system trusts is not asked beside them.
    let empty = file("empty", "nothing");
    let text = refused(&[TLS, ("ssl.ca.location", &empty)]);
    assert!(text.contains("ssl.ca.location") && text.contains(&empty), "{text}");

    for name in ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"] {
        let gone = format!("{place}/gone");
        let text = refused(&[TLS, ("ssl.ca.pem", CA), (name, &gone)]);
        assert!(text.contains(name) && text.contains(&gone), "{text}");
    }
    assert!(refused(&[TLS, ("ssl.ca.pem", "nothing")]).contains("ssl.ca.pem"));
    assert!(refused(&[TLS, TRUST, own[0]]).contains("ssl.key.location"));
    assert!(refused(&[TLS, TRUST, own[1]]).contains("ssl.certificate.location"));
    let text = refused(&[TLS, TRUST, ("ssl.certificate.location", &empty), own[1]]);
    assert!(text.contains("ssl.certificate.location") && text.contains(&empty), "{text}");
    let encrypted = file("encrypted", &KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let text = refused(&[TLS, TRUST, own[0], ("ssl.key.location", &encrypted)]);
    assert!(text.contains("ssl.key.location") && text.contains("librdkafka"), "{text}");
    // A key where a file's name belongs, and one that is of another certificate.
    assert!(refused(&[TLS, TRUST, own[0], ("ssl.key.location", KEY)]).contains("ssl.key.location"));
    assert!(refused(&[TLS, ("ssl.ca.location", KEY)]).contains("ssl.ca.location"));
    let other = refused(&[TLS, TRUST, ("ssl.certificate.pem", OTHER), ("ssl.key.pem", KEY)]);
    assert!(other.contains("do not go together"), "{other}");
}
