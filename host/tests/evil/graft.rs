//! Components that no compiler makes: a sound one with something grown onto it.
//!
//! A component is a list of sections, and one more may stand at the end: what it holds is compiled and instantiated
//! with the rest, and the sound part still opens.

/// The sections of the binary format that are needed here.
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const COMPONENT: u8 = 4;
const IMPORT: u8 = 10;
/// Magic, version and layer.
const PREAMBLE: usize = 8;

/// A component with a core module more, instantiated so many times. The module is text.
pub(super) fn with_module(component: &[u8], module: &str, instances: u32) -> Vec<u8> {
    let module = wat::parse_str(module).unwrap();
    let index = sections(component).filter(|id| *id == CORE_MODULE).count();
    let mut grown = component.to_vec();
    section(&mut grown, CORE_MODULE, &module);
    let mut body = number(instances);
    for _ in 0..instances {
        // Of a module, by its index, with no arguments.
        body.push(0);
        body.extend(number(u32::try_from(index).unwrap()));
        body.push(0);
    }
    section(&mut grown, CORE_INSTANCE, &body);
    grown
}

/// A component with components in components.
pub(super) fn with_nested(component: &[u8], depth: usize) -> Vec<u8> {
    let empty = &component[..PREAMBLE];
    let nest = |inner: Vec<u8>, _| {
        let mut outer = empty.to_vec();
        section(&mut outer, COMPONENT, &inner);
        outer
    };
    let mut grown = component.to_vec();
    section(&mut grown, COMPONENT, &(0..depth).fold(empty.to_vec(), nest));
    grown
}

/// A component that wants something more of its host: a resource type of this name.
pub(super) fn with_import(component: &[u8], name: &str) -> Vec<u8> {
    let mut body = number(1);
    body.push(0);
    body.extend(number(u32::try_from(name.len()).unwrap()));
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&[3, 1]); // a type, which is a resource
    let mut grown = component.to_vec();
    section(&mut grown, IMPORT, &body);
    grown
}

fn section(to: &mut Vec<u8>, id: u8, body: &[u8]) {
    to.push(id);
    to.extend(number(u32::try_from(body.len()).unwrap()));
    to.extend_from_slice(body);
}

/// The ids of the sections.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[PREAMBLE..];
    std::iter::from_fn(move || {
        let (id, after) = rest.split_first()?;
        let digits = after.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let digit = |size: usize, byte: &u8| size << 7 | usize::from(byte & 0x7f);
        let size = after[..digits].iter().rev().fold(0, digit);
        rest = &after[digits + size..];
        Some(*id)
    })
}

/// An unsigned number in LEB128.
fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
