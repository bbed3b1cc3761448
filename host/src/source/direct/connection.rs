//! A connection to one broker: connected, encrypted and signed in when it is handed over; then a request at a time.
//!
//! What a broker says is not trusted: lengths are bounded, and nothing is reserved because a broker claims it
//! ([`Claims`]). After an error the connection is out of step: whoever goes on drops it and opens another one.

use std::collections::BTreeMap;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, MetadataRequest,
    MetadataResponse, RequestHeader, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use self::claims::Claims;
use super::super::client::PATIENCE;
use super::sasl;
use super::security::Security;
use crate::{Error, Result};

mod claims;

/// How long a broker that has signed us in may say nothing, and take nothing.
const READS: Duration = Duration::from_secs(30);
const WRITES: Duration = Duration::from_secs(10);
/// What is read ahead. Whoever has room for as much reads past it.
const BUFFER: usize = 64 << 10;
/// The longest answer that is read piece by piece, and the longest that is read as a whole.
const MOST: u32 = 256 << 20;
const MOST_AT_ONCE: u32 = 16 << 20;

/// A request, and what answers it. The trait of the same name in `kafka_protocol` is there only if each message is
/// built for brokers, too.
pub(super) trait Request: Encodable + HeaderVersion {
    const KEY: ApiKey;
    type Response: Decodable + HeaderVersion;
}

macro_rules! requests {
    ($($key:ident: $request:ty => $response:ty,)*) => {
        $(impl Request for $request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = $response;
        })*
    };
}

requests! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse,
    Fetch: FetchRequest => FetchResponse,
    Metadata: MetadataRequest => MetadataResponse,
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse,
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse,
}

/// The body of an answer, as it comes. Who stops before its end drops the connection; if it ends while its `limit` is
/// not 0, the broker has closed the connection.
pub(super) type Answer<'a> = io::Take<&'a mut BufReader<Stream>>;

/// A connection that has signed in.
pub(super) struct Connection {
    address: String,
    client: StrBytes,
    stream: BufReader<Stream>,
    /// The number of the last request.
    correlation: i32,
    /// The oldest and the newest version of each request that the broker has.
    versions: BTreeMap<i16, (i16, i16)>,
    /// How long a read waits.
    patience: Duration,
    /// From then on the broker may soon end the session.
    old: Option<Instant>,
}

impl Connection {
    /// Connects to a broker (`host:port`). Each step may take [`PATIENCE`], and later reads [`READS`].
    pub(super) fn open(address: &str, security: &Security, client: &str) -> Result<Connection> {
        let (host, port) = split(address)?;
        let tcp = connect(address, host, port)?;
        let stream = match security.tls() {
            Some(config) => encrypt(address, host, config.clone(), tcp)?,
            None => Stream::Plain(tcp),
        };
        let mut connection = Connection {
            address: address.into(),
            client: StrBytes::from_string(client.into()),
            stream: BufReader::with_capacity(BUFFER, stream),
            correlation: 0,
            versions: BTreeMap::new(),
            patience: PATIENCE,
            old: None,
        };
        connection.learn().map_err(|e| {
            e.context("no answer to a first question (property security.protocol must fit the listener)")
        })?;
        if let Some(identity) = security.identity() {
            let begun = Instant::now();
            let lifetime = sasl::sign_in(&mut connection, identity)?;
            connection.old = lifetime.and_then(|lifetime| begun.checked_add(lifetime / 5 * 4));
        }
        connection.patience = READS;
        limit(connection.stream.get_ref().tcp(), READS, WRITES).map_err(|e| connection.failed(&e))?;
        Ok(connection)
    }

    /// Where the broker is, as it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The newest version of a request that both sides have, of those in `ours`.
    pub(super) fn version<Q: Request>(&self, ours: RangeInclusive<i16>) -> Result<i16> {
        let theirs = self.versions.get(&(Q::KEY as i16)).copied();
        let newest = theirs.map(|(oldest, newest)| (oldest, newest.min(*ours.end())));
        newest
            .filter(|(oldest, newest)| newest >= oldest && newest >= ours.start())
            .map(|(_, newest)| newest)
            .ok_or_else(|| {
                let has =
                    theirs.map_or("no version".into(), |(min, max)| format!("only versions {min} to {max}"));
                Error::stop(format!(
                    "broker {} has {has} of the request {:?}, expected one of {} to {}; `fetch = librdkafka` \
                     asks in other ways",
                    self.address,
                    Q::KEY,
                    ours.start(),
                    ours.end()
                ))
            })
    }

    /// Asks and waits for the whole answer.
    pub(super) fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Result<Q::Response> {
        self.send(version, request)?;
        let mut body = Vec::new();
        let mut answer = self.begin::<Q>(version, MOST_AT_ONCE)?;
        // The room grows with what comes.
        let read = answer.read_to_end(&mut body);
        let missing = answer.limit();
        match read {
            Err(e) => return Err(self.failed(&e)),
            Ok(_) if missing > 0 => return Err(self.failed(&ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
        }
        let mut body = Claims::new(body, Q::header_version(version) >= 2);
        Q::Response::decode(&mut body, version).map_err(|e| self.odd::<Q>(format_args!("{e:#}")))
    }

    /// Sends a request whose answer is read piece by piece.
    pub(super) fn send<Q: Request>(&mut self, version: i16, request: &Q) -> Result<()> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(Q::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client.clone()));
        // Its length, which is known only afterwards.
        let mut frame = vec![0; 4];
        let encoded = header.encode(&mut frame, Q::header_version(version));
        let encoded = encoded.and_then(|()| request.encode(&mut frame, version));
        let length = i32::try_from(frame.len() - 4);
        let (Ok(()), Ok(length)) = (encoded, length) else {
            return Err(Error::stop(format!("cannot write a request {:?} of version {version}", Q::KEY)));
        };
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let stream = self.stream.get_mut();
        stream.write_all(&frame).and_then(|()| stream.flush()).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Error::retry(format!("broker {} does not take a request", self.address))
            }
            _ => self.failed(&e),
        })
    }

    /// Begins the answer to the last request that was sent. What is returned reads its body.
    pub(super) fn answer<Q: Request>(&mut self, version: i16) -> Result<Answer<'_>> {
        self.begin::<Q>(version, MOST)
    }

    /// Whether the broker is about to end the session (KIP-368): whoever goes on opens another connection. True when
    /// four fifths of what the broker gave are over.
    pub(super) fn is_old(&self) -> bool {
        self.old.is_some_and(|at| Instant::now() >= at)
    }

    /// What an error while an [`Answer`] is read means.
    pub(super) fn failed(&self, error: &io::Error) -> Error {
        trouble(&self.address, self.patience, error)
    }

    fn begin<Q: Request>(&mut self, version: i16, most: u32) -> Result<Answer<'_>> {
        let tagged = Q::Response::header_version(version) >= 1;
        let length = self.number()?;
        let least = if tagged { 5 } else { 4 };
        let length =
            u32::try_from(length).ok().filter(|length| (least..=most).contains(length)).ok_or_else(|| {
                // An alert of TLS, of any version, read as a length.
                let tls =
                    if length >> 16 == 0x1503 { "; it wants TLS (property security.protocol)" } else { "" };
                self.odd::<Q>(format_args!("{length} bytes, expected {least} to {most}{tls}"))
            })?;
        let correlation = self.number()?;
        if correlation != self.correlation {
            let expected = self.correlation;
            return Err(self.odd::<Q>(format_args!("it is of request {correlation}, expected {expected}")));
        }
        let mut left = u64::from(length) - 4;
        if tagged {
            let mut header = Read::by_ref(&mut self.stream).take(left);
            let skipped = skip_tags(&mut header);
            left = header.limit();
            skipped.map_err(|e| match left {
                0 => self.odd::<Q>(format_args!("its header does not end")),
                _ => self.failed(&e),
            })?;
        }
        Ok(Read::take(&mut self.stream, left))
    }

    fn number(&mut self) -> Result<i32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes).map_err(|e| self.failed(&e))?;
        Ok(i32::from_be_bytes(bytes))
    }

    /// An answer that is none. The next one, on another connection, may be better.
    fn odd<Q: Request>(&self, why: std::fmt::Arguments<'_>) -> Error {
        Error::retry(format!("broker {} gives no answer to the request {:?}: {why}", self.address, Q::KEY))
    }

    /// Asks which versions the broker has. Each has version 0 of this question.
    fn learn(&mut self) -> Result<()> {
        let found = self.ask(0, &ApiVersionsRequest::default())?;
        if let Some(error) = found.error_code.err() {
            return Err(Error::stop(format!("broker {} does not say its versions: {error}", self.address)));
        }
        let versions = found.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        self.versions = versions.collect();
        Ok(())
    }
}

/// Host and port of a broker.
fn split(address: &str) -> Result<(&str, u16)> {
    let split = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let odd = host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control());
        Some((host, port.parse().ok()?)).filter(|_| !odd)
    });
    split.ok_or_else(|| Error::usage(format!("broker {address:?}: expected host:port (setting `brokers`)")))
}

/// Tries each address that the name has.
fn connect(address: &str, host: &str, port: u16) -> Result<TcpStream> {
    let cannot = |why: String| Error::retry(format!("cannot connect to broker {address}: {why}"));
    let mut why = "its name has no address".to_owned();
    for place in (host, port).to_socket_addrs().map_err(|e| cannot(e.to_string()))? {
        let tcp = TcpStream::connect_timeout(&place, PATIENCE);
        match tcp.and_then(|tcp| limit(&tcp, PATIENCE, PATIENCE).map(|()| tcp)) {
            Ok(tcp) => return Ok(tcp),
            Err(e) => why = format!("{place}: {e}"),
        }
    }
    Err(cannot(why))
}

fn limit(tcp: &TcpStream, reads: Duration, writes: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(reads))?;
    tcp.set_write_timeout(Some(writes))
}

fn encrypt(address: &str, host: &str, config: Arc<ClientConfig>, mut tcp: TcpStream) -> Result<Stream> {
    let failed = |why: &dyn std::fmt::Display| Error::stop(format!("no TLS with broker {address}: {why}"));
    let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
    let mut session = ClientConnection::new(config, name).map_err(|e| failed(&e))?;
    // Goes on until both sides are content.
    session.complete_io(&mut tcp).map_err(|e| {
        trouble(address, PATIENCE, &e).context("no TLS (property security.protocol must fit the listener)")
    })?;
    Ok(Stream::Tls(Box::new(StreamOwned::new(session, tcp))))
}

fn trouble(address: &str, patience: Duration, error: &io::Error) -> Error {
    if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        let look = match tls {
            rustls::Error::InvalidCertificate(_) => {
                "; whom to trust say the properties ssl.ca.location and ssl.ca.pem, and `fetch = librdkafka` checks \
                 by OpenSSL's rules"
            }
            rustls::Error::AlertReceived(_) => {
                "; it may want a certificate (properties ssl.certificate.location and ssl.key.location)"
            }
            _ => "",
        };
        return Error::stop(format!("broker {address} and this host cannot agree on TLS: {tls}{look}"));
    }
    Error::retry(match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("broker {address} does not answer within {} s", patience.as_secs())
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => format!("broker {address} closed the connection"),
        _ => format!("the connection to broker {address} failed: {error}"),
    })
}

/// Passes tagged fields, of which we know none.
pub(super) fn skip_tags(from: &mut impl Read) -> io::Result<()> {
    for _ in 0..varint(from)? {
        varint(from)?;
        let size = u64::from(varint(from)?);
        if io::copy(&mut from.by_ref().take(size), &mut io::sink())? < size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// A number of seven bits a byte, the lowest first.
pub(super) fn varint(from: &mut impl Read) -> io::Result<u32> {
    let mut value = 0;
    for at in 0..5 {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        value |= u32::from(byte[0] & 0x7f) << (at * 7);
        if byte[0] < 0x80 {
            break;
        }
    }
    Ok(value)
}

/// What bytes go over.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(from),
            Stream::Tls(tls) => tls.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
