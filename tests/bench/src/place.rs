//! Where the stores of a run are: a folder on a real disk, gone when the run ends.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use clap::Args;
use rustix::fs::statfs;
use tempfile::TempDir;

use crate::stats::{Summary, Times};

/// `f_type` of tmpfs in statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// Bytes of one append of [`Place::fdatasync`]: about what one step writes.
const APPEND_BYTES: usize = 512;

const APPENDS: u32 = 1000;

/// Where a scenario puts its stores.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Folder on the disk to measure; a temporary folder is made in it. Default: beside this program
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A folder for one run.
pub(crate) struct Place(TempDir);

impl Place {
    /// Makes it.
    pub(crate) fn make(args: &PlaceArgs) -> anyhow::Result<Self> {
        let parent = match &args.data {
            Some(folder) => folder.clone(),
            None => std::env::current_exe()?
                .parent()
                .context("this program has no folder")?
                .to_path_buf(),
        };
        let shown = parent.display().to_string();
        let kind = statfs(&parent).with_context(|| shown.clone())?.f_type;
        anyhow::ensure!(
            kind != TMPFS,
            "{shown} is in memory: name a folder on a disk with --data"
        );
        let folder = tempfile::Builder::new()
            .prefix("drover-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("{shown}: name a writable folder with --data"))?;
        Ok(Self(folder))
    }

    /// The data folder of this name.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// How long the bare disk takes for one small append that survives a power cut.
    pub(crate) fn fdatasync(&self) -> anyhow::Result<Summary> {
        let path = self.folder("appends");
        let mut file = File::create(&path)?;
        let bytes = [b'x'; APPEND_BYTES];
        let mut times = Times::new();
        for _ in 0..APPENDS {
            let began = Instant::now();
            file.write_all(&bytes)?;
            file.sync_data()?;
            times.record(began.elapsed());
        }
        fs::remove_file(&path)?;
        Ok(times.summary())
    }
}

/// Bytes of all files of a folder.
pub(crate) fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |data| data.len()),
        })
        .sum()
}

/// Copies a data folder that nobody uses.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
