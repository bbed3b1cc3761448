//! Lies and loads in what it says of itself.

use crate::Result;
use crate::bindings::tidemill::transform::types::{Content, DataType, Descriptor};
use crate::{honest, memory};

/// More than the host allows, and little enough to be looked at.
pub(super) fn many_columns(honest: Descriptor) -> Result<Descriptor> {
    columns(honest, 2_000)
}

/// More than the host should even take in.
pub(super) fn million_columns(honest: Descriptor) -> Result<Descriptor> {
    columns(honest, 300_000)
}

fn columns(mut honest: Descriptor, count: u32) -> Result<Descriptor> {
    let column = |n| honest::column(&format!("c{n}"), DataType::Int64, true, Content::Computed);
    honest.outputs[0].columns.extend((0..count).map(column));
    Ok(honest)
}

pub(super) fn long_names(mut honest: Descriptor) -> Result<Descriptor> {
    honest.outputs[0].name = "n".repeat(512 << 10);
    Ok(honest)
}

/// A gigabyte, as the host would copy it.
pub(super) fn aliases(mut honest: Descriptor) -> Result<Descriptor> {
    let keys = memory::aliases(1 << 20, 1000);
    honest.properties = keys.into_iter().map(|key| (key, String::new())).collect();
    Ok(honest)
}

pub(super) fn name(mut honest: Descriptor) -> Result<Descriptor> {
    honest.name = "../../evil".into();
    Ok(honest)
}

pub(super) fn output(mut honest: Descriptor) -> Result<Descriptor> {
    honest.outputs[0].name = "../_tidemill/log".into();
    Ok(honest)
}

pub(super) fn column(mut honest: Descriptor) -> Result<Descriptor> {
    honest.outputs[0].columns[2].name = "page/../\u{1b}[2J\n".into();
    Ok(honest)
}

pub(super) fn version(mut honest: Descriptor) -> Result<Descriptor> {
    honest.version = "1\u{1b}[2J\n".into();
    Ok(honest)
}

pub(super) fn property(mut honest: Descriptor) -> Result<Descriptor> {
    honest.properties = vec![("trusted".into(), "yes".into())];
    Ok(honest)
}

pub(super) fn event_time(mut honest: Descriptor) -> Result<Descriptor> {
    honest.outputs[0].event_time = Some("page".into());
    Ok(honest)
}

pub(super) fn table_of_the_host(mut honest: Descriptor) -> Result<Descriptor> {
    honest.outputs[0].name = "rejected_events".into();
    Ok(honest)
}

pub(super) fn table_of_another(mut honest: Descriptor) -> Result<Descriptor> {
    honest.outputs[0].name = "user_events".into();
    Ok(honest)
}

pub(super) fn name_of_another(mut honest: Descriptor) -> Result<Descriptor> {
    honest.name = "clean".into();
    Ok(honest)
}
