//! A transform file, loaded: compiled, opened once, its descriptor checked.

use std::sync::Arc;

use super::bindings::TransformPre;
use super::engine::Engine;
use super::fault::Fault;
use super::guest::Guest;
use super::instance::Instance;
use super::package::Package;
use super::sidecar::Sidecar;
use super::spec::{Input, Spec};
use crate::batch::Identity;
use crate::{Error, Result};

/// A component that is ready to be instantiated for any partition.
pub(super) struct Loaded {
    pub(super) engine: Arc<Engine>,
    pub(super) pre: TransformPre<Guest>,
    pub(super) sidecar: Sidecar,
    name: String,
    file: String,
}

/// A transform: a component and what it said of itself.
pub struct Component {
    pub(super) loaded: Arc<Loaded>,
    /// Its checked descriptor. The sidecar's input, if it has one, stands in `spec.input`.
    pub spec: Spec,
    /// Its name, version and digest.
    pub identity: Arc<Identity>,
}

impl Loaded {
    /// The file's name without its ending, for log lines before the transform has told its name.
    pub(super) fn label(&self) -> &str {
        &self.name
    }
}

impl Component {
    /// Loads a component and its sidecar.
    pub fn load(engine: &Arc<Engine>, package: &Package) -> Result<Component> {
        let file = package.file.clone();
        let sidecar = Sidecar::of(package)?;
        let digest = package.digest();
        let pre = engine.compile(package, &digest)?;
        let name = package.name.clone();
        let loaded = Arc::new(Loaded { engine: engine.clone(), pre, sidecar, name, file: file.clone() });
        let (_, descriptor) =
            Instance::open(&loaded).map_err(|e| Error::usage(format!("transform {file}: {e}")))?;
        let mut spec = Spec::check(descriptor, &file)?;
        if let Some(input) = &loaded.sidecar.input {
            if matches!(input, Input::Topic(_)) != matches!(spec.input, Input::Topic(_)) {
                return Err(Error::usage(format!(
                    "sidecar of transform {file}: a topic cannot stand in for an output of a transform, or the other way round"
                )));
            }
            spec.input = input.clone();
        }
        let identity = Arc::new(Identity { name: spec.name.clone(), version: spec.version.clone(), digest });
        Ok(Component { loaded, spec, identity })
    }

    /// What errors call it: mostly the path of its file.
    pub fn file(&self) -> &str {
        &self.loaded.file
    }

    /// A new instance, opened. It must say of itself what the first one said.
    pub(super) fn instantiate(&self) -> Result<Instance, Fault> {
        let (instance, descriptor) = Instance::open(&self.loaded)?;
        let spec = Spec::check(descriptor, self.file());
        let mut spec = spec.map_err(|e| Fault::contract(e.to_string()))?;
        spec.input = self.spec.input.clone();
        if spec != self.spec {
            return Err(Fault::contract("it describes itself differently from the first time".into()));
        }
        Ok(instance)
    }
}
