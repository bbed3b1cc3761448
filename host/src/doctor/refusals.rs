//! What refusals of brokers mean: TLS, SASL and rights told apart, each with its remedy.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::report::Finding;
use crate::config::Config;
use crate::source::examine::Refusal;

/// How this client is to prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Security {
    /// Over TLS.
    pub(super) tls: bool,
    /// With SASL.
    pub(super) sasl: bool,
    /// The mechanism of SASL.
    mechanism: String,
    /// `security.protocol` as librdkafka takes it.
    pub(super) name: String,
}

impl Security {
    pub(super) fn of(config: &Config) -> Security {
        // As hosts have it: what `auth` sets, and people's own properties on top.
        let source = config.source().config();
        let property = |name: &str| source.get(name).map(str::to_ascii_uppercase);
        let name = property("security.protocol").unwrap_or_else(|| "PLAINTEXT".into());
        let mechanism = property("sasl.mechanism").or_else(|| property("sasl.mechanisms"));
        Security {
            tls: name.ends_with("SSL"),
            sasl: name.starts_with("SASL"),
            mechanism: mechanism.unwrap_or_else(|| "GSSAPI".into()),
            name,
        }
    }
}

/// The mechanism of `auth = msk-iam`.
const OAUTHBEARER: &str = "OAUTHBEARER";

/// Why the first question was not answered.
pub(super) fn connection<T>(refusal: &Refusal, security: &Security) -> Finding<T> {
    let why = refusal.why.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| why.contains(part));
    let Security { mechanism, name, .. } = security;
    if refusal.code == Some(Code::Authentication) && !has(&["ssl handshake"])
        || has(&["sasl authentication error"])
    {
        if has(&["unsupported", "mechanism"]) && has(&["mechanism"]) && !has(&["invalid credentials"]) {
            return Finding::failed(
                format!("SASL: the broker does not take the mechanism {mechanism}: {}", refusal.why),
                "-X sasl.mechanism=… as the broker has it: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
            );
        }
        if mechanism == OAUTHBEARER {
            return Finding::failed(
                format!("SASL: the broker does not accept this AWS identity: {}", refusal.why),
                "`aws sts get-caller-identity` says who this is; its policy needs kafka-cluster:Connect, DescribeTopic, \
                 ReadData, DescribeGroup and AlterGroup on the cluster, topic and group",
            );
        }
        return Finding::failed(
            format!("SASL: the broker does not accept these credentials ({mechanism}): {}", refusal.why),
            "correct sasl.username, sasl.password and sasl.mechanism ([librdkafka] in tidemill.toml, or \
             TIDEMILL_LIBRDKAFKA)",
        );
    }
    if has(&["certificate verify failed", "unable to get local issuer", "self-signed", "self signed"]) {
        return Finding::failed(
            format!("TLS: the broker's certificate is not trusted: {}", refusal.why),
            "-X ssl.ca.location=FILE with the certificate (PEM) of the authority that signed it; if it is for another \
             name, name the broker as it does (--brokers)",
        );
    }
    if has(&["certificate required", "bad certificate", "client ssl authentication", "alert number 116"]) {
        return Finding::failed(
            format!("TLS: the broker wants a certificate of the client: {}", refusal.why),
            "-X ssl.certificate.location=FILE -X ssl.key.location=FILE",
        );
    }
    if has(&["ssl handshake failed", "ssl alert", "tls"]) || refusal.code == Some(Code::SSL) {
        return Finding::failed(
            format!("TLS: no agreement with the broker: {}", refusal.why),
            "see which versions and certificates the broker's listener has; -X ssl.ca.location=FILE",
        );
    }
    // Kafka says nothing to who should have begun with SASL, and goes.
    let gone = has(&["sasl", "disconnected"]) || refusal.code == Some(Code::BrokerTransportFailure);
    if !security.sasl && gone {
        let with = if security.tls { "SASL_SSL" } else { "SASL_PLAINTEXT" };
        return Finding::failed(
            format!(
                "the broker ended the connection: it may want SASL, and security.protocol is {name}: {}",
                refusal.why
            ),
            format!("-X security.protocol={with} -X sasl.mechanism=… -X sasl.username=… -X sasl.password=…"),
        );
    }
    Finding::failed(
        format!("the brokers do not answer: {}", refusal.why),
        "see whether the broker has started, and what its log says",
    )
}

/// Why a later question was refused: mostly for want of rights.
pub(super) fn question<T>(
    doing: &str,
    refusal: &Refusal,
    config: &Config,
    security: &Security,
) -> Finding<T> {
    let Config { topic, group, brokers, .. } = config;
    let found = format!("cannot {doing}: {}", refusal.why);
    let user = config.librdkafka.get("sasl.username").map_or("USER", String::as_str);
    let grant = |what: &str| {
        let hint =
            if security.sasl || security.tls { "" } else { " (USER is ANONYMOUS without TLS and SASL)" };
        format!("kafka-acls --bootstrap-server {brokers} --add --allow-principal User:{user} {what}{hint}")
    };
    match refusal.code {
        Some(Code::TopicAuthorizationFailed) => {
            Finding::failed(found, grant(&format!("--operation Read --operation Describe --topic {topic}")))
        }
        Some(Code::GroupAuthorizationFailed) => {
            Finding::failed(found, grant(&format!("--operation Read --operation Describe --group {group}")))
        }
        Some(Code::ClusterAuthorizationFailed) => {
            Finding::failed(found, grant("--operation Describe --cluster"))
        }
        _ => Finding::failed(found, "see whether all brokers run, and what their logs say"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Layers};

    fn config(properties: &[&str]) -> Config {
        let librdkafka = properties.iter().map(|property| (*property).to_owned()).collect();
        let flags = Flags { librdkafka, ..Flags::default() };
        Config::of(&Layers::only(&flags).expect("sound")).expect("sound")
    }

    fn said(code: Option<Code>, why: &str, properties: &[&str]) -> (String, String) {
        let refusal = Refusal { code, why: why.into() };
        let finding: Finding = connection(&refusal, &Security::of(&config(properties)));
        (finding.found, finding.remedy.expect("one"))
    }

    #[test]
    fn tls_and_sasl_are_told_apart() {
        let tls = ["security.protocol=ssl"];
        let (found, remedy) = said(
            Some(Code::SSL),
            "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could \
             not be verified, verify that ssl.ca.location is correctly configured",
            &tls,
        );
        assert!(found.contains("not trusted") && remedy.contains("ssl.ca.location"), "{found}: {remedy}");
        let (found, remedy) =
            said(Some(Code::SSL), "SSL handshake failed: sslv3 alert bad certificate", &tls);
        assert!(
            found.contains("certificate of the client") && remedy.contains("ssl.key.location"),
            "{found}"
        );
        let sasl = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=u"];
        let (found, remedy) = said(
            Some(Code::Authentication),
            "SASL authentication error: Authentication failed: Invalid username",
            &sasl,
        );
        assert!(found.starts_with("SASL") && remedy.contains("sasl.password"), "{found}: {remedy}");
        let (found, remedy) = said(
            Some(Code::Authentication),
            "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512",
            &sasl,
        );
        assert!(found.contains("mechanism PLAIN") && remedy.contains("SCRAM"), "{found}: {remedy}");
        let (found, remedy) = said(
            Some(Code::BrokerTransportFailure),
            "Disconnected: verify that security.protocol is correctly configured, broker might require SASL authentication",
            &[],
        );
        assert!(found.contains("may want SASL") && remedy.contains("SASL_PLAINTEXT"), "{found}: {remedy}");
        let (found, _) = said(Some(Code::BrokerTransportFailure), "broker transport failure", &[]);
        assert!(found.contains("may want SASL"), "{found}");
        let (found, _) = said(Some(Code::OperationTimedOut), "Timed out", &sasl);
        assert!(found.contains("do not answer"), "{found}");
    }

    #[test]
    fn a_missing_right_is_named_as_kafka_grants_it() {
        let refusal = Refusal { code: Some(Code::GroupAuthorizationFailed), why: "not authorized".into() };
        let config = config(&["sasl.username=ada", "security.protocol=SASL_SSL"]);
        let finding: Finding = question("use the group", &refusal, &config, &Security::of(&config));
        let remedy = finding.remedy.expect("one");
        assert!(remedy.contains("User:ada") && remedy.contains("--group tidemill"), "{remedy}");
    }
}
