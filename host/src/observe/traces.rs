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
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("tidemill");
        Ok(Traces { provider, tracer })
    }

    /// A commit: the first lap is the whole.
    pub(super) fn commit(&self, commit: &Commit, laps: &[Lap]) {
        let Some((whole, steps)) = laps.split_first() else { return };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let root = SpanBuilder::from_name("commit").with_start_time(time(whole.began)).with_attributes([
            KeyValue::new("tidemill.record", number(commit.record)),
            KeyValue::new("tidemill.events", number(commit.events)),
            KeyValue::new("tidemill.files", number(commit.files.len() as u64)),
            KeyValue::new("tidemill.bytes", number(commit.files.iter().map(|(_, _, bytes)| bytes).sum())),
        ]);
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
