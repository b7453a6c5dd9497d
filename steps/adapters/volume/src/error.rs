//! What the file system says went wrong, sorted as steps need it.

use std::io::{Error, ErrorKind};

use drover_ports::{PortError, PortErrorKind};

/// Sorts an error of a file of the store.
pub(crate) fn sort(action: &str, key: &str, error: &Error) -> PortError {
    let kind = match error.kind() {
        ErrorKind::NotFound => PortErrorKind::NotFound,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => PortErrorKind::Denied,
        // One key is the folder of another one.
        ErrorKind::AlreadyExists
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => PortErrorKind::Invalid,
        _ => PortErrorKind::Unavailable,
    };
    PortError::new(kind, action, format!("{key}: {error}"))
}
