//! What wit-bindgen makes of `wit/transform.wit`.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::unwrap_used)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::cast_possible_truncation)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "transform",
    additional_derives: [Clone],
});

export!(Evil with_types_in crate::bindings);

use crate::Evil;
