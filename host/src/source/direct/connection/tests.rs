//! Connections to brokers that behave, and to some that do not.

use std::net::TcpListener;
use std::thread::JoinHandle;

use kafka_protocol::messages::MetadataRequest;

use super::super::super::client::Settings;
use super::super::super::embedded;
use super::super::security::tests::{BROKER, CA, KEY, OTHER};
use super::*;
use crate::error::Kind;

/// Both ways to a client.
pub(in super::super) trait Way: Read + Write {}
impl<T: Read + Write> Way for T {}

/// A broker that says what a test wants it to, to one client.
pub(in super::super) struct Fake {
    pub(in super::super) address: String,
    thread: JoinHandle<()>,
}

impl Fake {
    pub(in super::super) fn start(serve: impl FnOnce(&mut dyn Way) + Send + 'static) -> Fake {
        Fake::raw(|mut tcp| serve(&mut tcp))
    }

    fn raw(serve: impl FnOnce(TcpStream) + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
        Fake { address, thread }
    }

    /// What it has seen was as it expected.
    pub(in super::super) fn end(self) {
        self.thread.join().expect("a fake broker that is content");
    }

    fn open(&self, properties: &[(&str, &str)]) -> Result<Connection> {
        Connection::open(&self.address, &security(properties), "test")
    }
}

pub(in super::super) fn security(properties: &[(&str, &str)]) -> Security {
    let librdkafka = properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Security::of(&Settings { librdkafka, ..Settings::default() }).expect("properties that are right")
}

/// Reads a request of a header of version 1: its key, its number, and its body.
pub(in super::super) fn hear(way: &mut dyn Way) -> (ApiKey, i32, Vec<u8>) {
    let mut length = [0; 4];
    way.read_exact(&mut length).unwrap();
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    way.read_exact(&mut frame).unwrap();
    let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
    let number = i32::from_be_bytes(frame[4..8].try_into().unwrap());
    assert_eq!(frame[8..14], *b"\0\x04test");
    (key, number, frame.split_off(14))
}

/// Answers with a header of version 0.
pub(in super::super) fn say(way: &mut dyn Way, number: i32, body: &[u8]) {
    let length = i32::try_from(body.len() + 4).unwrap();
    let frame = [&length.to_be_bytes(), &number.to_be_bytes(), body].concat();
    way.write_all(&frame).and_then(|()| way.flush()).unwrap();
}

/// Answers the first question: which versions of requests there are.
pub(in super::super) fn tell(way: &mut dyn Way, versions: &[(ApiKey, i16, i16)]) {
    let (key, number, body) = hear(way);
    assert_eq!((key, body.len()), (ApiKey::ApiVersions, 0));
    let mut said = vec![0, 0];
    said.extend(i32::try_from(versions.len()).unwrap().to_be_bytes());
    for (key, min, max) in versions {
        said.extend([*key as i16, *min, *max].iter().flat_map(|number| number.to_be_bytes()));
    }
    say(way, number, &said);
}

/// What becomes of a client whose first question is answered so.
fn first(answer: impl FnOnce(&mut dyn Way, i32) + Send + 'static) -> String {
    let fake = Fake::start(|way| {
        let (_, number, _) = hear(way);
        answer(way, number);
    });
    let error = fake.open(&[]).err().expect("no connection");
    assert_eq!(error.kind(), Kind::Retry, "{error}");
    let text = error.to_string();
    assert!(text.contains(&fake.address) && text.contains("security.protocol"), "{text}");
    fake.end();
    text
}

#[test]
fn a_broker_is_asked() {
    let broker = embedded::Broker::start("asked", 3).unwrap();
    let mut connection = Connection::open(&broker.address(), &security(&[]), "test").unwrap();
    assert!(!connection.is_old());
    for newest in [1, 9] {
        // With headers and counts of both kinds.
        let version = connection.version::<MetadataRequest>(1..=newest).unwrap();
        assert_eq!(version, newest);
        let found = connection.ask(version, &MetadataRequest::default().with_topics(None)).unwrap();
        let topic = found.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|n| n.0 == *"asked"));
        assert_eq!(topic.map(|topic| topic.partitions.len()), Some(3));
        assert_eq!(found.brokers.len(), 1);
    }
    // The same piece by piece: the body and nothing else is read.
    let all = MetadataRequest::default().with_topics(None);
    connection.send(9, &all).unwrap();
    let mut body = Vec::new();
    let mut answer = connection.answer::<MetadataRequest>(9).unwrap();
    answer.read_to_end(&mut body).unwrap();
    assert_eq!(answer.limit(), 0);
    assert_eq!(MetadataResponse::decode(&mut &body[..], 9).unwrap().brokers.len(), 1);
    assert_eq!(connection.ask(9, &all).unwrap().brokers.len(), 1);
}

#[test]
fn versions_are_those_that_both_have() {
    let fake = Fake::start(|way| tell(way, &[(ApiKey::Fetch, 4, 11), (ApiKey::Metadata, 9, 8)]));
    let connection = fake.open(&[]).unwrap();
    assert_eq!(connection.version::<FetchRequest>(4..=17).unwrap(), 11);
    assert_eq!(connection.version::<FetchRequest>(0..=7).unwrap(), 7);
    let error = connection.version::<FetchRequest>(12..=17).unwrap_err();
    assert_eq!(error.kind(), Kind::Stop);
    let text = error.to_string();
    assert!(text.contains(&fake.address) && text.contains("Fetch") && text.contains("4 to 11"), "{text}");
    assert!(connection.version::<FetchRequest>(0..=3).is_err());
    assert!(connection.version::<MetadataRequest>(0..=12).is_err());
    let none = connection.version::<SaslAuthenticateRequest>(0..=2).unwrap_err().to_string();
    assert!(none.contains("no version of the request SaslAuthenticate"), "{none}");
    fake.end();
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let long = |length: i32| {
        first(move |way, number| {
            let frame = [length.to_be_bytes(), number.to_be_bytes()].concat();
            way.write_all(&frame).unwrap();
        })
    };
    for length in [-1, i32::MIN, 0, 3, (16 << 20) + 1, i32::MAX] {
        let text = long(length);
        assert!(text.contains(&format!("{length} bytes, expected 4 to 16777216")), "{text}");
    }
    // What comes is read, and what is claimed makes no room.
    assert!(long(16 << 20).contains("closed the connection"));
    assert!(first(|_, _| ()).contains("closed the connection"));
    let text = first(|way, number| say(way, number + 1, &[0; 6]));
    assert!(text.contains("it is of request 2, expected 1"), "{text}");
    let text = first(|way, number| say(way, number, &[0, 0, 0]));
    assert!(text.contains("no answer to the request ApiVersions"), "{text}");
    let text = first(|way, _| way.write_all(&[0x15, 3, 3, 0, 2, 2, 80]).unwrap());
    assert!(text.contains("it wants TLS"), "{text}");
}

#[test]
fn room_is_not_made_for_what_is_only_claimed() {
    let text = first(|way, number| say(way, number, &[0, 0, 0x7f, 0xff, 0xff, 0xff]));
    assert!(text.contains("no answer to the request ApiVersions"), "{text}");
    // A count of a variable length, behind bytes that seem to begin another one.
    for claim in
        [&[0xff, 0xff, 0xff, 0xff, 0x07][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0x82, 0x80, 0x80, 1]]
    {
        for before in [&[][..], &[0x80], &[0x80, 0x80, 0x80, 0x80]] {
            let mut claims = Claims::new([before, claim].concat(), true);
            let mut read = (0..before.len() + claim.len()).map(|_| bytes::Buf::try_get_u8(&mut claims));
            assert!(read.any(|read| read.is_err()), "{before:x?} {claim:x?}");
        }
    }
    let mut sensible = Claims::new([&[0x80; 2][..], &[0x3f, 1, 0, 0x7f, 0xff, 0xff, 0xff]].concat(), true);
    assert!((0..5).all(|_| bytes::Buf::try_get_u8(&mut sensible).is_ok()));
    assert_eq!(bytes::Buf::try_get_i32(&mut sensible), Ok(i32::MAX));

    let fake = Fake::start(|way| {
        tell(way, &[(ApiKey::Metadata, 12, 12)]);
        let (_, number, _) = hear(way);
        // No tagged field, no throttling, and four billion brokers.
        say(way, number, &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]);
    });
    let mut connection = fake.open(&[]).unwrap();
    let error = connection.ask(12, &MetadataRequest::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Retry);
    assert!(error.to_string().contains("request Metadata"), "{error}");
    fake.end();
}

#[test]
fn an_answer_in_pieces_is_bounded() {
    let answer = |bytes: &'static [u8]| {
        let fake = Fake::start(move |way| {
            tell(way, &[]);
            hear(way);
            way.write_all(bytes).unwrap();
        });
        let mut connection = fake.open(&[]).unwrap();
        connection.send(12, &FetchRequest::default()).unwrap();
        let found = connection.answer::<FetchRequest>(12).map(|mut answer| {
            let mut body = Vec::new();
            answer.read_to_end(&mut body).unwrap();
            (body, answer.limit())
        });
        fake.end();
        found.map_err(|e| e.to_string())
    };
    // A tagged field of two bytes in the header, then the body; what follows is another answer.
    let good = answer(&[0, 0, 0, 10, 0, 0, 0, 2, 1, 5, 2, 9, 9, 42, 77, 77]);
    assert_eq!(good, Ok((vec![42], 0)));
    // The broker closes the connection before the end.
    assert_eq!(answer(&[0, 0, 0, 10, 0, 0, 0, 2, 0, 42]), Ok((vec![42], 4)));
    assert!(answer(&[0, 0, 0, 4, 0, 0, 0, 2]).unwrap_err().contains("4 bytes, expected 5 to 268435456"));
    assert!(answer(&[0x10, 0, 0, 1, 0, 0, 0, 2]).unwrap_err().contains("268435457 bytes"));
    // A header that is longer than the answer.
    let endless = answer(&[0, 0, 0, 9, 0, 0, 0, 2, 1, 5, 0xff, 0xff, 3, 42]).unwrap_err();
    assert!(endless.contains("its header does not end"), "{endless}");
    assert!(answer(&[0, 0, 0, 9, 0, 0, 0, 2, 0xff]).unwrap_err().contains("closed the connection"));
}

#[test]
fn who_is_not_there_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = Connection::open(&nobody, &security(&[]), "test").err().unwrap();
    assert_eq!(error.kind(), Kind::Retry);
    assert!(error.to_string().starts_with(&format!("cannot connect to broker {nobody}: ")), "{error}");
    assert_eq!(split("[::1]:9092").unwrap(), ("::1", 9092));
    assert_eq!(split("::1:9092").unwrap(), ("::1", 9092));
    for wrong in ["", "host", ":9092", "host:", "host:99999", "a\nb:1", "[]:1"] {
        assert_eq!(split(wrong).unwrap_err().kind(), Kind::Usage, "{wrong}");
    }
}

/// A broker behind TLS; `asks` for a certificate.
fn encrypted(asks: bool) -> Fake {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let of = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(of(CA)).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let builder = match asks {
        true => builder.with_client_cert_verifier(verifier.build().unwrap()),
        false => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(vec![of(BROKER)], key).unwrap());
    Fake::raw(move |tcp| {
        let session = rustls::ServerConnection::new(config).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        // A client that goes is none of its business.
        if stream.read(&mut []).is_ok() && stream.conn.complete_io(&mut stream.sock).is_ok() {
            tell(&mut stream, &[(ApiKey::Fetch, 0, 12)]);
        }
    })
}

#[test]
fn tls_is_spoken_with_whom_we_trust() {
    let trusting = [("security.protocol", "SSL"), ("ssl.ca.pem", CA)];
    let fake = encrypted(false);
    assert_eq!(fake.open(&trusting).unwrap().version::<FetchRequest>(4..=17).unwrap(), 12);
    fake.end();
    // By name, too: localhost is also in the certificate.
    let fake = encrypted(false);
    let by_name = fake.address.replace("127.0.0.1", "localhost");
    Connection::open(&by_name, &security(&trusting), "test").unwrap();
    fake.end();
    let fake = encrypted(true);
    let own = [trusting[0], trusting[1], ("ssl.certificate.pem", BROKER), ("ssl.key.pem", KEY)];
    fake.open(&own).unwrap();
    fake.end();
}

#[test]
fn why_there_is_no_tls_is_said() {
    let refused = |fake: Fake, ca: &str, kind: Kind, says: &[&str]| {
        let error = fake.open(&[("security.protocol", "ssl"), ("ssl.ca.pem", ca)]).err().expect("no TLS");
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(&fake.address) && says.iter().all(|part| text.contains(part)), "{text}");
    };
    refused(encrypted(false), OTHER, Kind::Stop, &["UnknownIssuer", "ssl.ca.location"]);
    let asks = ["CertificateRequired", "ssl.certificate.location", "ssl.key.location"];
    refused(encrypted(true), CA, Kind::Stop, &asks);
    // Listeners that know no TLS: one goes, one says something.
    let gone = Fake::start(|way| _ = way.read(&mut [0; 9]).unwrap());
    refused(gone, CA, Kind::Retry, &["closed the connection", "security.protocol"]);
    let odd = Fake::start(|way| way.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    refused(odd, CA, Kind::Stop, &["security.protocol"]);
}
