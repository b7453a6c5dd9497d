//! Names of the lab: a hosts file of its own, mounted over `/etc/hosts` wherever a part of the lab looks.
//!
//! It is always written in place, never renamed: a bind mount goes on showing the file that it was made from.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use anyhow::Context as _;

/// The lab's names.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    file: PathBuf,
    names: Arc<Mutex<BTreeMap<String, IpAddr>>>,
}

impl Hosts {
    /// Begins a hosts file with nothing but `localhost`.
    pub(crate) fn new(file: PathBuf) -> anyhow::Result<Self> {
        let hosts = Self {
            file,
            names: Arc::default(),
        };
        hosts.set("localhost", [127, 0, 0, 1].into())?;
        Ok(hosts)
    }

    /// Gives a name an address, in place of the one it had.
    pub(crate) fn set(&self, name: &str, address: IpAddr) -> anyhow::Result<()> {
        self.change(|names| names.insert(name.to_owned(), address) != Some(address))
    }

    /// The address of a name.
    pub(crate) fn get(&self, name: &str) -> Option<IpAddr> {
        self.names
            .lock()
            .expect("nobody panics with the lock")
            .get(name)
            .copied()
    }

    /// Forgets a name.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.change(|names| names.remove(name).is_some())
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, IpAddr>) -> bool,
    ) -> anyhow::Result<()> {
        let mut names = self.names.lock().expect("nobody panics with the lock");
        if !change(&mut names) {
            return Ok(());
        }
        let text: String = names
            .iter()
            .map(|(name, address)| format!("{address} {name}\n"))
            .collect();
        // Never empty in between: somebody may be looking a name up.
        let write = || {
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&self.file)?;
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        };
        write().with_context(|| format!("write {}", self.file.display()))
    }
}
