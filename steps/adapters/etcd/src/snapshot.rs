//! A snapshot, as etcd streams it: the database file in pieces, then its SHA-256.
//!
//! The file is kept with those last 32 bytes: `etcdutl snapshot restore` checks them.

use std::time::Duration;

use drover_ports::{PortError, PortErrorKind, SecretBytes, Snapshot};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{error::Asked, member::View};

/// For the whole stream. Databases of some gigabytes take a minute.
const LIMIT: Duration = Duration::from_secs(300);
/// SHA-256.
const TRAILER: usize = 32;

/// Reads a snapshot of `view` to its end. Cancel-safe: nothing is changed.
///
/// # Errors
/// `Unavailable` when it is incomplete or does not fit its SHA-256; `Unreachable` when the member goes away.
pub(crate) async fn read(
    view: &View,
    asked: Asked<'_>,
) -> Result<(SecretBytes, Snapshot), PortError> {
    let file = timeout(LIMIT, stream(view, asked))
        .await
        .unwrap_or_else(|_| Err(asked.late(LIMIT)))?;
    check(&file).map_err(|why| asked.error(PortErrorKind::Unavailable, why))?;
    let about = Snapshot {
        sha256: hex::encode(Sha256::digest(&file)),
        // What the member had applied just before: the snapshot has at least that.
        revision: view.seen.revision,
        size: u64::try_from(file.len()).unwrap_or(u64::MAX),
    };
    Ok((SecretBytes::new(std::mem::take(&mut *{ file })), about))
}

/// It holds every Secret of the cluster, so what is left of it on an error is wiped.
async fn stream(view: &View, asked: Asked<'_>) -> Result<Zeroizing<Vec<u8>>, PortError> {
    let mut pieces = view.snapshot(asked).await?;
    let mut file = Zeroizing::new(Vec::new());
    while let Some(piece) = pieces
        .message()
        .await
        .map_err(|status| asked.refused(&status))?
    {
        if file.is_empty() {
            // All at once: a buffer that grows leaves copies behind.
            let rest = usize::try_from(piece.remaining_bytes).unwrap_or(usize::MAX);
            let size = rest.saturating_add(piece.blob.len() + TRAILER);
            file.try_reserve_exact(size).map_err(|_| {
                let message = format!("there is no memory for a snapshot of {size} bytes");
                asked.error(PortErrorKind::Unavailable, message)
            })?;
        }
        file.extend_from_slice(&piece.blob);
    }
    Ok(file)
}

/// The last 32 bytes must be the SHA-256 of the rest.
fn check(file: &[u8]) -> Result<(), String> {
    let (rest, trailer) = file
        .split_last_chunk::<TRAILER>()
        .filter(|(rest, _)| !rest.is_empty())
        .ok_or_else(|| format!("the snapshot ends after {} bytes", file.len()))?;
    if Sha256::digest(rest)[..] != trailer[..] {
        return Err(
            "the snapshot does not fit its SHA-256: it is incomplete or damaged".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = b"a database".to_vec();
        let digest = Sha256::digest(&file);
        file.extend_from_slice(&digest);
        file
    }

    #[test]
    fn a_whole_snapshot_passes() {
        check(&file()).unwrap();
    }

    #[test]
    fn damaged_or_cut_ones_do_not() {
        let mut damaged = file();
        damaged[0] ^= 1;
        check(&damaged).unwrap_err();
        let whole = file();
        for end in 0..whole.len() {
            check(&whole[..end]).unwrap_err();
        }
        check(&Sha256::digest(b"")).unwrap_err();
    }
}
