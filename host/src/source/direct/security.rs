//! Whom a connection trusts and how it signs in, by the properties that librdkafka has for that.
//!
//! Both clients of a host read the same properties, so this one reads them as librdkafka does: its names, its defaults,
//! and that those of TLS and SASL mean nothing where `security.protocol` does not ask for them. What it does not have
//! is refused: nobody shall think that something is checked which is not.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_native_certs;

use super::super::auth::Auth;
use super::super::client::Settings;
use super::sasl::{Identity, Mechanism};
use crate::{Error, Result};

/// Properties of TLS and SASL that we have, with the value that they must have if it is the only one.
const TLS: [(&str, Option<&[&str]>); 8] = [
    ("enable.ssl.certificate.verification", Some(&["true", "t", "1"])),
    ("ssl.endpoint.identification.algorithm", Some(&["https"])),
    ("ssl.ca.location", None),
    ("ssl.ca.pem", None),
    ("ssl.certificate.location", None),
    ("ssl.certificate.pem", None),
    ("ssl.key.location", None),
    ("ssl.key.pem", None),
];
const SASL: [(&str, Option<&[&str]>); 4] =
    [("sasl.mechanism", None), ("sasl.mechanisms", None), ("sasl.username", None), ("sasl.password", None)];

/// What every connection to these brokers is made with.
pub(super) struct Security {
    tls: Option<Arc<ClientConfig>>,
    identity: Option<Identity>,
}

/// Without what is secret.
impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, sasl) = (self.tls.is_some(), self.identity.is_some());
        f.debug_struct("Security").field("tls", &tls).field("sasl", &sasl).finish_non_exhaustive()
    }
}

impl Security {
    /// Reads properties, and the files that they name.
    pub(super) fn of(settings: &Settings) -> Result<Security> {
        let properties = Properties(&settings.librdkafka);
        let default = match settings.auth {
            Auth::Properties => "plaintext",
            Auth::MskIam => "sasl_ssl",
        };
        let protocol = properties.text("security.protocol").unwrap_or(default).trim_end();
        let (tls, sasl) = match protocol.to_ascii_lowercase().as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return Err(unknown("security.protocol", protocol)),
        };
        properties.refuse(tls, sasl)?;
        Ok(Security {
            tls: tls.then(|| properties.tls()).transpose()?.map(Arc::new),
            identity: sasl.then(|| properties.identity(settings)).transpose()?,
        })
    }

    /// How connections are encrypted, if they are.
    pub(super) fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// Who signs in, if anybody does.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

struct Properties<'a>(&'a BTreeMap<String, String>);

impl<'a> Properties<'a> {
    /// librdkafka takes blanks from the front of a text.
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.trim_start())
    }

    /// Refuses what we do not have, where it would mean something.
    fn refuse(&self, tls: bool, sasl: bool) -> Result<()> {
        for (name, value) in self.0 {
            let of = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
            let known: &[(&str, Option<&[&str]>)] = match name.as_str() {
                "client.rack" => return Err(missing(name)),
                _ if tls && of(&["ssl.", "ssl_", "enable.ssl."]) => &TLS,
                _ if sasl && of(&["sasl.", "enable.sasl.", "enable_sasl"]) => &SASL,
                _ => continue,
            };
            let Some((_, only)) = known.iter().find(|(known, _)| known == name) else {
                return Err(missing(name));
            };
            let fits = |only: &[&str]| only.iter().any(|only| only.eq_ignore_ascii_case(value.trim()));
            if !only.is_none_or(fits) {
                return Err(missing(&format!("{name}={value}")));
            }
        }
        Ok(())
    }

    fn tls(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::stop(format!("cannot make a TLS client: {e}")))?
            .with_root_certificates(self.authorities()?);
        let certificates = self.pem("ssl.certificate")?;
        let key = self.pem("ssl.key")?;
        let (Some((of_certificate, certificates)), Some((of_key, key))) = (&certificates, &key) else {
            return match (certificates, key) {
                (Some((name, _)), None) => Err(Error::usage(format!(
                    "property {name} needs the key of the certificate: set ssl.key.location, too"
                ))),
                (None, Some((name, _))) => Err(Error::usage(format!(
                    "property {name} needs the certificate of the key: set ssl.certificate.location, too"
                ))),
                _ => Ok(builder.with_no_client_auth()),
            };
        };
        let chain: Vec<CertificateDer> = certificates_in(of_certificate, certificates)?;
        // Why a key cannot be read is not said: that could quote it.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            Error::usage(format!(
                "property {of_key}: no private key in PEM that is not encrypted; `fetch = librdkafka` takes an \
                 encrypted one (ssl.key.password)"
            ))
        })?;
        builder.with_client_auth_cert(chain, key).map_err(|e| {
            Error::usage(format!("properties {of_certificate} and {of_key} do not go together: {e}"))
        })
    }

    /// Whom a broker's certificate must be from.
    fn authorities(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let place = self.text("ssl.ca.location").filter(|place| *place != "probe");
        if let Some(place) = place {
            let shown = shown(place);
            let mut why = String::new();
            for file in files(Path::new(place)) {
                match std::fs::read(&file) {
                    Ok(pem) => {
                        let found = CertificateDer::pem_slice_iter(&pem).flatten();
                        roots.add_parsable_certificates(found);
                    }
                    Err(e) => why = format!(": {e}"),
                }
            }
            if roots.is_empty() {
                return Err(Error::usage(format!(
                    "property ssl.ca.location: no certificate in PEM in {shown}{why} (in a folder, only files with \
                     names by `openssl rehash` count)"
                )));
            }
        }
        if let Some(text) = self.text("ssl.ca.pem") {
            let found = certificates_in("ssl.ca.pem", text.as_bytes())?;
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(Error::usage("property ssl.ca.pem: no certificate that can be read"));
            }
        }
        if roots.is_empty() {
            let found = load_native_certs();
            let why = found.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
            if roots.add_parsable_certificates(found.certs).0 == 0 {
                return Err(Error::usage(format!(
                    "this system has no authorities to trust{why}; say where some are (property ssl.ca.location)"
                )));
            }
        }
        Ok(roots)
    }

    /// What `….pem` says, or the file that `….location` names; and which of them it was.
    fn pem(&self, what: &str) -> Result<Option<(String, Vec<u8>)>> {
        let name = format!("{what}.pem");
        if let Some(text) = self.text(&name) {
            return Ok(Some((name, text.into())));
        }
        let name = format!("{what}.location");
        let Some(place) = self.text(&name) else { return Ok(None) };
        let shown = shown(place);
        let bytes = std::fs::read(place)
            .map_err(|e| Error::usage(format!("property {name}: cannot read {shown}: {e}")))?;
        Ok(Some((format!("{name} ({shown})"), bytes)))
    }

    fn identity(&self, settings: &Settings) -> Result<Identity> {
        if settings.auth == Auth::MskIam {
            return Ok(Identity::MskIam { brokers: settings.brokers.clone() });
        }
        let mechanism = match (self.text("sasl.mechanism"), self.text("sasl.mechanisms")) {
            (Some(one), Some(other)) if one != other => {
                return Err(Error::usage(format!(
                    "properties sasl.mechanism={one} and sasl.mechanisms={other} are the same; take one of them"
                )));
            }
            // What librdkafka takes for it if nothing is said.
            (one, other) => one.or(other).unwrap_or("GSSAPI"),
        };
        let known = Mechanism::ALL.into_iter().find(|known| known.name() == mechanism);
        let known = known.ok_or_else(|| missing(&format!("sasl.mechanism={mechanism}")))?;
        let text = |name: &str| {
            let needed = || Error::usage(format!("property {name} is needed for sasl.mechanism={mechanism}"));
            self.text(name).filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(needed)
        };
        let (username, password) = (text("sasl.username")?, text("sasl.password")?);
        Ok(Identity::Password { mechanism: known, username, password })
    }
}

/// The files of authorities: the one that is named, or those in the folder that OpenSSL would find there, as
/// `3e45d192.0`.
fn files(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(place) else { return vec![place.into()] };
    let hashed = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
        name.is_some_and(|(hash, number)| {
            hash.len() == 8
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    entries.flatten().map(|entry| entry.path()).filter(hashed).collect()
}

fn certificates_in(property: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Error::usage(format!("property {property}: no certificate in PEM")))
}

/// A file's name. Who mistakes `….location` for `….pem` has put a key there.
fn shown(place: &str) -> &str {
    if place.contains("-----") {
        "a file whose name is PEM (that is for the property ….pem)"
    } else {
        place
    }
}

fn unknown(property: &str, value: &str) -> Error {
    Error::usage(format!(
        "property {property}={value}: expected plaintext, ssl, sasl_plaintext or sasl_ssl (setting `librdkafka`)"
    ))
}

fn missing(property: &str) -> Error {
    Error::usage(format!(
        "property {property} is not for fetching without librdkafka (setting `librdkafka`); `fetch = librdkafka` \
         takes it"
    ))
}

#[cfg(test)]
pub(super) mod tests;
