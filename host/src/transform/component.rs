//! A transform file, loaded: compiled, opened once, its descriptor checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bindings::TransformPre;
use super::engine::Engine;
use super::guest::Guest;
use super::instance::Instance;
use super::sidecar::Sidecar;
use super::spec::{Input, Spec};
use crate::batch::Identity;
use crate::{Error, Result};

/// A component that is ready to be instantiated for any partition.
pub(super) struct Loaded {
    pub(super) engine: Arc<Engine>,
    pub(super) pre: TransformPre<Guest>,
    pub(super) sidecar: Sidecar,
    path: PathBuf,
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
        self.path.file_stem().and_then(|s| s.to_str()).unwrap_or("transform")
    }
}

impl Component {
    /// Loads a component and its sidecar.
    pub fn load(engine: &Arc<Engine>, path: &Path) -> Result<Component> {
        let sidecar = Sidecar::beside(path)?;
        let compiled = engine.compile(path)?;
        let loaded = Loaded { engine: engine.clone(), pre: compiled.pre, sidecar, path: path.into() };
        let loaded = Arc::new(loaded);
        let file = path.display().to_string();
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
        let identity = Arc::new(Identity {
            name: spec.name.clone(),
            version: spec.version.clone(),
            digest: compiled.digest,
        });
        Ok(Component { loaded, spec, identity })
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.loaded.path
    }

    /// A new instance, opened. It must say of itself what the first one said.
    pub(super) fn instantiate(&self) -> Result<Instance, String> {
        let (instance, descriptor) = Instance::open(&self.loaded)?;
        let mut spec =
            Spec::check(descriptor, &self.path().display().to_string()).map_err(|e| e.to_string())?;
        spec.input = self.spec.input.clone();
        if spec != self.spec {
            return Err("it describes itself differently from the first time".into());
        }
        Ok(instance)
    }
}
