//! Files of the store. What was read or is to be written is wiped from memory afterwards.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use drover_ports::SecretBytes;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How much of a file is hashed at a time.
const CHUNK: usize = 64 * 1024;

/// How the names of files begin that are being written. No key leads to one.
const UNDER_WAY: &str = ".put-";

/// Makes a folder, and those around it, for the owner only.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// SHA-256, hex, and size.
pub(crate) fn digest(path: &Path) -> io::Result<(String, u64)> {
    let (mut file, size) = open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => hash.update(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hex::encode(hash.finalize()), size))
}

/// All of it.
pub(crate) fn read(path: &Path) -> io::Result<SecretBytes> {
    let (mut file, size) = open(path)?;
    // All at once, so that growing leaves no copy behind. A file is never changed, only replaced.
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    file.read_exact(&mut bytes)?;
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

/// A folder is no object.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = match File::open(path) {
        // A segment before the last one is an object.
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(ErrorKind::NotFound.into());
        }
        file => file?,
    };
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta.len()))
    } else {
        Err(ErrorKind::NotFound.into())
    }
}

/// Writes it beside the old one, makes it durable, and gives it its name. Answers its SHA-256, hex.
pub(crate) fn write(root: &Path, path: &Path, data: &SecretBytes) -> io::Result<String> {
    let folder = path.parent().unwrap_or(root);
    make_folder(folder)?;
    // Mode 0600; removed again when anything fails before it has its name.
    let mut file = tempfile::Builder::new()
        .prefix(UNDER_WAY)
        .tempfile_in(folder)?;
    file.write_all(data.expose())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The name, and the folders that may be new with it.
    for folder in folder.ancestors().take_while(|at| at.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(hex::encode(Sha256::digest(data.expose())))
}
