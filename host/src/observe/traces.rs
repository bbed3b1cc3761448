//! Traces of commits for an OpenTelemetry collector: one span for each, one within it for each of its steps.
//!
//! Sent in batches by a thread of their own, and dropped when the collector is slow or away: no commit waits for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::{Commit, Lap};
use crate::env::Micros;
use crate::{Error, Result};

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// … and for the last one.
const LAST: Duration = Duration::from_secs(1);
/// Where collectors take traces, by OTLP over HTTP.
const PATH: &str = "/v1/traces";

/// The way to a collector. What was not sent when this is dropped is sent then, for a bounded time.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// To the collector at this address, such as `http://127.0.0.1:4318`. Nothing is sent yet.
    pub fn to(endpoint: &str, host: &str, pipeline: &str) -> Result<Traces> {
        let url = format!("{}{PATH}", endpoint.trim_end_matches('/').trim_end_matches(PATH));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(PATIENCE)
            .build()
            .map_err(|e| Error::usage(format!("cannot send traces to {endpoint} (setting `otlp`): {e}")))?;
        let resource = Resource::builder().with_service_name("tidemill").with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", host.to_owned()),
            KeyValue::new("tidemill.pipeline", pipeline.to_owned()),
        ]);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("tidemill");
        Ok(Traces { provider, tracer })
    }

    /// A commit: the first lap is the whole.
    pub(super) fn commit(&self, commit: &Commit, laps: &[Lap]) {
        let Some((whole, steps)) = laps.split_first() else { return };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let facts = [
            KeyValue::new("tidemill.record", number(commit.record)),
            KeyValue::new("tidemill.events", number(commit.events)),
            KeyValue::new("tidemill.files", number(commit.files.len() as u64)),
            KeyValue::new("tidemill.bytes", number(commit.files.iter().map(|(_, _, bytes)| bytes).sum())),
        ];
        let log = commit.log.map(|log| KeyValue::new("tidemill.log", i64::from(log)));
        let root = SpanBuilder::from_name("commit")
            .with_start_time(time(whole.began))
            .with_attributes(facts.into_iter().chain(log));
        let context = Context::new().with_span(self.tracer.build_with_context(root, &Context::new()));
        for lap in steps {
            let step = SpanBuilder::from_name(lap.step.name()).with_start_time(time(lap.began));
            self.tracer.build_with_context(step, &context).end_with_timestamp(end(lap));
        }
        context.span().end_with_timestamp(end(whole));
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // The collector may be away: that is nobody's trouble here.
        if let Err(e) = self.provider.shutdown_with_timeout(LAST) {
            tracing::debug!("the last traces were not sent: {e}");
        }
    }
}

fn time(at: Micros) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at).unwrap_or_default())
}

fn end(lap: &Lap) -> SystemTime {
    time(lap.began) + lap.took
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;

    use super::*;
    use crate::observe::Step;

    /// Takes one request as a collector does: its first line, and its body.
    fn taken(listener: &TcpListener) -> (String, Vec<u8>) {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut first, mut length) = (String::new(), 0);
        stream.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        (first, body)
    }

    #[test]
    fn a_collector_gets_a_span_for_each_step_within_that_of_its_commit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = std::thread::spawn(move || taken(&listener));
        let traces = Traces::to(&endpoint, "host-1", "tidemill").unwrap();
        let lap = |step, began, took| Lap { step, began, took: Duration::from_millis(took) };
        let began = 1_795_925_106_000_000;
        let commit = Commit { record: 17, events: 1000, ..Commit::default() };
        let laps = [
            lap(Step::Total, began, 30),
            lap(Step::Stage, began, 10),
            lap(Step::Publish, began + 10_000, 20),
        ];
        traces.commit(&commit, &laps);
        drop(traces);
        let (first, body) = collector.join().unwrap();
        assert_eq!(first, "POST /v1/traces HTTP/1.1\r\n");
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        let spans: Vec<_> =
            request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).collect();
        let of = |name: &str| *spans.iter().find(|span| span.name == name).unwrap();
        let (root, publish) = (of("commit"), of("publish"));
        assert_eq!(spans.len(), 3);
        assert_eq!((&publish.parent_span_id, &publish.trace_id), (&root.span_id, &root.trace_id));
        let nanos = u64::try_from(began).unwrap() * 1000;
        assert_eq!((root.start_time_unix_nano, root.end_time_unix_nano), (nanos, nanos + 30_000_000));
        assert_eq!(publish.end_time_unix_nano, nanos + 30_000_000);
        assert!(root.attributes.iter().any(|attribute| attribute.key == "tidemill.record"));
    }

    #[test]
    fn a_collector_that_is_away_holds_up_nothing() {
        let traces = Traces::to("http://127.0.0.1:9", "host-1", "tidemill").unwrap();
        let laps = [Lap { step: Step::Total, began: 0, took: Duration::from_millis(1) }];
        let began = std::time::Instant::now();
        (0..100).for_each(|_| traces.commit(&Commit::default(), &laps));
        assert!(began.elapsed() < Duration::from_secs(1));
        drop(traces);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
