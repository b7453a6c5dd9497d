//! The region store on a volume of the installation: one file an object, under the folder that its key names.
//!
//! A write is durable when it returns, and never half there: a new file is written beside the old one, synced, and takes
//! its name. Only the owner may read. What is in the objects is encrypted by nobody here; the volume has to be.

mod error;
mod files;
mod key;

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use drover_ports::{ObjectStore, PortError, PortErrorKind, SecretBytes};

use crate::error::sort;

const HEAD: &str = "region-store:Head";
const GET: &str = "region-store:Get";
const PUT: &str = "region-store:Put";

/// A region store in a folder.
#[derive(Clone, Debug)]
pub struct Volume {
    root: PathBuf,
}

impl Volume {
    /// Opens the store in a folder, which is made when it is not there.
    ///
    /// # Errors
    /// When it can neither be found nor made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let root = dir.into();
        files::make_folder(&root)?;
        Ok(Self {
            root: root.canonicalize()?,
        })
    }

    /// Does what blocks where it harms nobody. Not cancel-safe: once begun, it goes on.
    async fn off_the_loop<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        act: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let path = key::path(&self.root, key).map_err(|why| {
            PortError::new(PortErrorKind::Invalid, action, why).with_code("InvalidKey")
        })?;
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || act(&root, &path)).await;
        done.map_err(io::Error::other)
            .flatten()
            .map_err(|error| sort(action, key, &error))
    }
}

#[async_trait]
impl ObjectStore for Volume {
    async fn head(&self, key: &str) -> Result<Option<(String, u64)>, PortError> {
        let digest = self
            .off_the_loop(HEAD, key, |_, path| files::digest(path))
            .await;
        match digest {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, key: &str) -> Result<SecretBytes, PortError> {
        self.off_the_loop(GET, key, |_, path| files::read(path))
            .await
    }

    async fn put(&self, key: &str, data: &SecretBytes) -> Result<String, PortError> {
        let data = data.clone();
        self.off_the_loop(PUT, key, move |root, path| files::write(root, path, &data))
            .await
    }
}
