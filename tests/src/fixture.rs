//! Data folders that earlier builds wrote, as they lie in `tests/fixtures`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every fixture there is, oldest first by name.
pub fn all() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// Where fixtures are.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Copies a data folder that nobody uses, without its lock.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if name != "LOCK" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
