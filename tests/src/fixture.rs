//! Data folders that earlier builds wrote, as they lie in `tests/fixtures`.
//!
//! sled's files are mostly empty: a fixture keeps each file up to its last byte that is not zero, and its real length in
//! `LENGTHS`.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

const LENGTHS: &str = "LENGTHS";

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

/// Puts a data folder away, without its lock.
pub fn pack(folder: &Path, to: &Path) {
    let mut lengths = String::new();
    for file in files(folder) {
        let relative = file.strip_prefix(folder).unwrap();
        let bytes = fs::read(&file).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |i| i + 1);
        lengths.push_str(&format!("{} {}\n", bytes.len(), relative.display()));
        let packed = to.join(relative);
        fs::create_dir_all(packed.parent().unwrap()).unwrap();
        fs::write(packed, &bytes[..end]).unwrap();
    }
    fs::write(to.join(LENGTHS), lengths).unwrap();
}

/// Lays a data folder out again.
pub fn unpack(packed: &Path, folder: &Path) {
    for line in fs::read_to_string(packed.join(LENGTHS)).unwrap().lines() {
        let (length, name) = line.split_once(' ').unwrap();
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        file.write_all(&fs::read(packed.join(name)).unwrap())
            .unwrap();
        file.set_len(length.parse().unwrap()).unwrap();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.file_name().is_some_and(|name| name != "LOCK") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
