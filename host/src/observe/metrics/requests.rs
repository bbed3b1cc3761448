//! Requests to S3 and Glue: how many, how they ended, how long they took.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{SECONDS, register};

/// Counts requests that leave the host, each attempt by itself. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    s3: IntCounterVec,
    took: HistogramVec,
    glue: IntCounterVec,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Requests")
    }
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Requests {
        let (s3, labels) = ("tidemill_store_requests_total", ["zone", "operation", "outcome"]);
        let s3 = Opts::new(s3, "Requests to S3, retries included, by zone, operation and outcome.");
        let took = HistogramOpts::new(
            "tidemill_store_request_seconds",
            "Time until S3 answered, by zone and operation.",
        );
        let glue =
            Opts::new("tidemill_catalog_requests_total", "Requests to AWS Glue, by operation and outcome.");
        Requests {
            s3: register(registry, IntCounterVec::new(s3, &labels)),
            took: register(
                registry,
                HistogramVec::new(took.buckets(SECONDS.to_vec()), &["zone", "operation"]),
            ),
            glue: register(registry, IntCounterVec::new(glue, &["operation", "outcome"])),
        }
    }

    /// A request to S3 was answered, or was not.
    pub fn s3(&self, zone: &str, operation: &str, ok: bool, took: Duration) {
        self.s3.with_label_values(&[zone, operation, outcome(ok)]).inc();
        self.took.with_label_values(&[zone, operation]).observe(took.as_secs_f64());
    }

    /// A request to Glue was answered, or was not.
    pub fn glue(&self, operation: &str, ok: bool) {
        self.glue.with_label_values(&[operation, outcome(ok)]).inc();
    }
}

fn outcome(ok: bool) -> &'static str {
    if ok { "ok" } else { "error" }
}
