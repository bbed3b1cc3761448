//! Counts the requests that go to AWS Glue, each attempt by itself.

use aws_sdk_glue::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_glue::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_glue::error::BoxError;

use crate::observe::Requests;

/// What an AWS client calls after each attempt.
#[derive(Debug)]
pub(super) struct Counting(pub(super) Requests);

/// Errors that are answers: there is none, and there is one already.
const ANSWERS: [&[u8]; 2] = [b"EntityNotFoundException", b"AlreadyExistsException"];

impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().and_then(|request| request.headers().get("x-amz-target"));
        let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or("other");
        let ok = context.response().is_some_and(|answer| {
            answer.status().is_success() || answer.body().bytes().is_some_and(is_answer)
        });
        self.0.glue(operation, ok);
        Ok(())
    }
}

fn is_answer(body: &[u8]) -> bool {
    ANSWERS.iter().any(|name| memchr::memmem::find(body, name).is_some())
}
