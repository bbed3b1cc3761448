//! Who may change the data: the components that a host takes.
//!
//! Without a list and without keys, whoever can write where transforms are put decides. With either, a component is
//! taken if its SHA-256 is in the list, or if a trusted key has signed it. A signature is Ed25519 (RFC 8032) over the
//! [`statement`] on a component, in base64; it lies beside `NAME.wasm` as `NAME.wasm.sig`. It covers the name and the
//! sidecar too: a listed digest covers the component alone, whatever its sidecar says.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::package::Package;
use crate::digest::sha256;
use crate::{Error, Result};

/// The bytes of a public key.
const KEY: usize = 32;
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The components that are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// SHA-256 of components, in hexadecimal.
    digests: BTreeSet<String>,
    /// Public keys.
    keys: Vec<[u8; KEY]>,
    /// Somebody asked for it: nothing is taken unless it is listed or signed.
    asked: bool,
}

impl Trust {
    /// Reads lists that are separated by commas; none: it is not asked for.
    pub fn parse(digests: Option<&str>, keys: Option<&str>) -> Result<Trust, String> {
        let items = |text: &str| -> Vec<String> {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let mut trust = Trust { asked: digests.or(keys).is_some(), ..Trust::default() };
        for item in items(digests.unwrap_or_default()) {
            let digest = item.strip_prefix("sha256:").unwrap_or(&item).to_ascii_lowercase();
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("{item} is no SHA-256: expected 64 hexadecimal digits"));
            }
            trust.digests.insert(digest);
        }
        for item in items(keys.unwrap_or_default()) {
            let bytes = BASE64.decode(&item).ok().and_then(|bytes| <[u8; KEY]>::try_from(bytes).ok());
            let key = bytes.ok_or_else(|| {
                format!(
                    "{item} is no public key: expected {KEY} bytes in base64, as `tidemill sign` prints them"
                )
            })?;
            trust.keys.push(key);
        }
        Ok(trust)
    }

    /// Refuses a component that is neither listed nor signed.
    pub fn check(&self, package: &Package) -> Result<()> {
        let digest = package.digest();
        if !self.asked || self.digests.contains(&digest) {
            return Ok(());
        }
        let why = match &package.signature {
            None if self.keys.is_empty() => "it is not in `trusted-digests`".to_owned(),
            None => format!("it is not in `trusted-digests`, and there is no {}.wasm.sig", package.name),
            Some(text) if self.signed(package, text) => return Ok(()),
            Some(_) => format!(
                "its signature is of none of the {} keys in `trusted-keys`, or of another file name, component or sidecar",
                self.keys.len()
            ),
        };
        Err(Error::usage(format!(
            "transform {} (sha256 {digest}) is not trusted: {why}; sign it (tidemill sign), or add its digest",
            package.file
        )))
    }

    fn signed(&self, package: &Package, signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature.trim()) else { return false };
        let said = statement(package);
        self.keys
            .iter()
            .any(|key| UnparsedPublicKey::new(&ED25519, key).verify(said.as_bytes(), &signature).is_ok())
    }
}

/// What a signature is over.
pub fn statement(package: &Package) -> String {
    let sidecar = package.sidecar.as_ref().map_or_else(|| "none".into(), |text| sha256(text.as_bytes()));
    format!(
        "tidemill component 1\nname {}\ncomponent {}\nsidecar {sidecar}\n",
        package.name,
        package.digest()
    )
}

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, and the text of its file: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` makes it.
    pub fn generate() -> Result<(SigningKey, String)> {
        let made = || {
            let key = Ed25519KeyPair::generate()?;
            let document = key.to_pkcs8v1()?;
            Ok::<_, aws_lc_rs::error::Unspecified>((key, document))
        };
        let (key, document) = made().map_err(|_| Error::stop("cannot make a key: no randomness"))?;
        let body = BASE64.encode(document.as_ref());
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        Ok((SigningKey(key), format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))))
    }

    /// Reads the text of a key file.
    pub fn read(pem: &str) -> Result<SigningKey, String> {
        let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
        let (body, _) = body.ok_or_else(|| format!("expected PEM with `{BEGIN}`"))?;
        let body: String = body.split_whitespace().collect();
        let document = BASE64.decode(body).map_err(|e| format!("what is in the PEM is no base64: {e}"))?;
        let key = Ed25519KeyPair::from_pkcs8(&document);
        key.map(SigningKey).map_err(|e| format!("expected an Ed25519 key in PKCS #8: {e}"))
    }

    /// The public key, as `trusted-keys` takes it.
    pub fn public(&self) -> String {
        BASE64.encode(self.0.public_key().as_ref())
    }

    /// The signature of a component, as its file has it.
    pub fn sign(&self, package: &Package) -> String {
        format!("{}\n", BASE64.encode(self.0.sign(statement(package).as_bytes()).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package {
            name: "clean".into(),
            file: "clean.wasm".into(),
            wasm: b"component".to_vec(),
            ..Package::default()
        }
    }

    fn refused(trust: &Trust, package: &Package) -> String {
        trust.check(package).expect_err("not trusted").to_string()
    }

    #[test]
    fn nobody_asked_takes_everything_and_an_empty_list_nothing() {
        assert!(Trust::parse(None, None).unwrap().check(&package()).is_ok());
        let said = refused(&Trust::parse(Some(""), None).unwrap(), &package());
        assert!(said.contains("clean.wasm") && said.contains("not in `trusted-digests`"), "{said}");
    }

    #[test]
    fn a_listed_digest_is_taken_whatever_its_sidecar() {
        let listed =
            Trust::parse(Some(&format!("sha256:{}, {}", "0".repeat(64), package().digest())), None).unwrap();
        assert!(listed.check(&package()).is_ok());
        assert!(listed.check(&Package { sidecar: Some("[config]".into()), ..package() }).is_ok());
        refused(&listed, &Package { wasm: b"another".to_vec(), ..package() });
    }

    #[test]
    fn a_signature_covers_name_component_and_sidecar() {
        let (key, pem) = SigningKey::generate().unwrap();
        let (stranger, _) = SigningKey::generate().unwrap();
        let key_again = SigningKey::read(&pem).unwrap();
        assert_eq!(key.public(), key_again.public());
        let other = BASE64.encode([7; 32]);
        let trust = Trust::parse(None, Some(&format!("{other},{}", key.public()))).unwrap();
        let said = refused(&trust, &package());
        assert!(said.contains("no clean.wasm.sig"), "{said}");

        let whole = Package { sidecar: Some("[config]".into()), ..package() };
        let signed = |by: &SigningKey| Package { signature: Some(by.sign(&whole)), ..whole.clone() };
        assert!(trust.check(&signed(&key_again)).is_ok());
        assert!(refused(&trust, &signed(&stranger)).contains("none of the 2 keys"));
        for changed in [
            Package { name: "cleaner".into(), ..signed(&key) },
            Package { wasm: b"another".to_vec(), ..signed(&key) },
            Package { sidecar: Some("[config]\n".into()), ..signed(&key) },
            Package { sidecar: None, ..signed(&key) },
            Package { signature: Some("bm9uc2Vuc2U=".into()), ..signed(&key) },
            Package { signature: Some("!".into()), ..signed(&key) },
        ] {
            refused(&trust, &changed);
        }
    }

    #[test]
    fn a_key_that_openssl_made_is_read_and_signs_as_rfc_8032_says() {
        // The secret key of test 2 in RFC 8032, section 7.1, in PKCS #8.
        let secret = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let bytes = |hex: &str| -> Vec<u8> {
            hex.as_bytes()
                .chunks(2)
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
                .collect()
        };
        let mut document = bytes("302e020100300506032b657004220420");
        document.extend(bytes(secret));
        let pem = format!("{BEGIN}\n{}\n{END}\n", BASE64.encode(document));
        let key = SigningKey::read(&pem).unwrap();
        assert_eq!(key.public(), BASE64.encode(bytes(public)));
        let signature = key.0.sign(&[0x72]);
        assert!(
            BASE64
                .encode(signature.as_ref())
                .starts_with(&BASE64.encode(bytes("92a009a9f0d4cab8720e"))[..12])
        );
    }

    #[test]
    fn what_is_no_list_is_told() {
        assert!(Trust::parse(Some("abc"), None).unwrap_err().contains("64 hexadecimal digits"));
        assert!(Trust::parse(None, Some("abc")).unwrap_err().contains("32 bytes in base64"));
        assert!(SigningKey::read("secret").is_err());
        assert!(SigningKey::read(&format!("{BEGIN}\nAAAA\n{END}")).is_err());
    }
}
