//! The small object beside a snapshot. It is written after the snapshot, so a snapshot exists when its sidecar does.

use drover_ports::{ObjectStore, PortError, PortErrorKind, SecretBytes, Snapshot};
use serde::{Deserialize, Serialize};

use crate::error::Asked;

/// What the sidecar `<key>.json` holds. Objects outlive versions: fields are added, never renamed.
#[derive(Debug, Serialize, Deserialize)]
struct Sidecar {
    revision: u64,
    size: u64,
    sha256: String,
}

fn key(snapshot: &str) -> String {
    format!("{snapshot}.json")
}

/// The snapshot under `snapshot`, if it is complete: its sidecar is there and fits the object.
///
/// # Errors
/// `Unavailable` when the store does not answer, or holds a sidecar that is none.
pub(crate) async fn find(
    store: &dyn ObjectStore,
    snapshot: &str,
    asked: Asked<'_>,
) -> Result<Option<Snapshot>, PortError> {
    let stored = |error| of_store(error, asked);
    let text = match store.get(&key(snapshot)).await {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(stored(error)),
    };
    let sidecar: Sidecar = serde_json::from_slice(text.expose()).map_err(|_| {
        let message = format!(
            "{} in the region store is no description of a snapshot",
            key(snapshot)
        );
        asked.error(PortErrorKind::Unavailable, message)
    })?;
    let object = store.head(snapshot).await.map_err(stored)?;
    if object != Some((sidecar.sha256.clone(), sidecar.size)) {
        return Ok(None);
    }
    Ok(Some(Snapshot {
        sha256: sidecar.sha256,
        revision: sidecar.revision,
        size: sidecar.size,
    }))
}

/// Keeps a snapshot, and then its sidecar.
///
/// # Errors
/// `Unavailable` when the store does not take it, or takes something else.
pub(crate) async fn keep(
    store: &dyn ObjectStore,
    snapshot: &str,
    file: &SecretBytes,
    about: &Snapshot,
    asked: Asked<'_>,
) -> Result<(), PortError> {
    let stored = |error| of_store(error, asked);
    let sha256 = store.put(snapshot, file).await.map_err(stored)?;
    if sha256 != about.sha256 {
        let message = format!("the region store has something else under {snapshot}");
        return Err(asked.error(PortErrorKind::Unavailable, message));
    }
    let sidecar = Sidecar {
        revision: about.revision,
        size: about.size,
        sha256,
    };
    let text = serde_json::to_vec(&sidecar).expect("numbers and text");
    store
        .put(&key(snapshot), &SecretBytes::new(text))
        .await
        .map_err(stored)?;
    Ok(())
}

fn of_store(error: PortError, asked: Asked<'_>) -> PortError {
    PortError {
        message: format!("region store: {}", error.message),
        action: asked.action.to_owned(),
        ..error
    }
}
