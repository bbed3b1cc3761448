//! The sink from outside: rows in, files in a lake out.

mod bounds;
mod local;
mod s3;
mod support;
