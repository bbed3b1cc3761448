//! What wit-bindgen makes of `wit/transform.wit`. Authors use the typed layer above it; `wire` is for the rest.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::unwrap_used)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::cast_possible_truncation)]

wit_bindgen::generate!({
    path: "../wit",
    world: "transform",
    pub_export_macro: true,
    export_macro_name: "export_transform",
    default_bindings_module: "tidemill_sdk::bindings",
    runtime_path: "tidemill_sdk::wit_bindgen::rt",
    additional_derives: [PartialEq, Clone],
});
