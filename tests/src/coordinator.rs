//! A coordinator in this process that can be stopped and begun again on the same folder and port.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use drover_coordinator::{
    clock::SystemClock,
    engine::{FreeSpace, ended::Retention},
    server::{Config, Ground, Server},
    store::memory::Disk,
};
use drover_core::lease::Profile;
use tempfile::TempDir;

use crate::client::Client;

/// What a coordinator keeps its streams in.
enum Keeps {
    /// A folder on the real disk.
    Folder,
    /// A disk in memory that a test can fill and damage.
    Memory(Disk, FreeSpace),
}

impl Keeps {
    fn ground(&self, folder: &Path) -> Ground {
        match self {
            Self::Folder => Ground::folder(folder.join("data")),
            Self::Memory(disk, free_space) => Ground {
                stores: Box::new(disk.clone()),
                free_space: Arc::clone(free_space),
            },
        }
    }
}

/// Settings that a test may want otherwise.
#[derive(Clone, Default)]
pub struct Choices {
    /// Where every commit is copied to.
    pub backup: Option<PathBuf>,
    /// How many ended workflows are kept; 0 stands for many.
    pub ended_max: usize,
}

/// A coordinator and its folder.
pub struct Coordinator {
    choices: Choices,
    folder: TempDir,
    keeps: Keeps,
    server: Option<Server>,
    /// Where it listens, also after it was begun again.
    pub address: SocketAddr,
    profile: Profile,
}

/// Free bytes below which new workflows are refused.
pub const LOW_SPACE: u64 = 2 << 20;

/// Free bytes below which nothing is written.
pub const FULL_SPACE: u64 = 1 << 20;

fn config(folder: &Path, listen: SocketAddr, profile: Profile, choices: &Choices) -> Config {
    Config {
        listen,
        http: Some(([127, 0, 0, 1], 0).into()),
        data: folder.join("data"),
        profile,
        cancel_grace: Duration::from_secs(2),
        low_space: LOW_SPACE,
        full_space: FULL_SPACE,
        signing_key: None,
        backup: choices.backup.clone(),
        retention: Retention {
            after: Duration::from_secs(90 * 24 * 3600),
            ended_max: match choices.ended_max {
                0 => 1000,
                n => n,
            },
        },
    }
}

impl Coordinator {
    /// On an empty folder, with the test profile.
    pub async fn start() -> Self {
        Self::with(Profile::TEST).await
    }

    /// On an empty folder.
    pub async fn with(profile: Profile) -> Self {
        Self::on(Keeps::Folder, profile).await
    }

    /// Ends it, and begins it again with another profile.
    pub async fn begin_with(&mut self, profile: Profile) {
        self.profile = profile;
        self.begin().await;
    }

    /// On a disk in memory, which has as much space as `free_space` says.
    pub async fn in_memory(disk: &Disk, free_space: FreeSpace) -> Self {
        Self::on(Keeps::Memory(disk.clone(), free_space), Profile::TEST).await
    }

    /// On a folder that `fill` has put something into: what another build left, for example.
    pub async fn on_folder(fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fill(&folder.path().join("data"));
        Self::begin_in(folder, Keeps::Folder, Profile::TEST, Choices::default()).await
    }

    /// On an empty folder, with other settings.
    pub async fn choosing(choices: Choices) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::begin_in(folder, Keeps::Folder, Profile::TEST, choices).await
    }

    async fn on(keeps: Keeps, profile: Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::begin_in(folder, keeps, profile, Choices::default()).await
    }

    async fn begin_in(folder: TempDir, keeps: Keeps, profile: Profile, choices: Choices) -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        let ground = keeps.ground(folder.path());
        let config = config(folder.path(), listen, profile, &choices);
        let server = Server::start_on(ground, config, Arc::new(SystemClock));
        let server = server.await.unwrap();
        let address = server.address;
        Self {
            choices,
            folder,
            keeps,
            server: Some(server),
            address,
            profile,
        }
    }

    /// Ends it; its folder stays.
    pub async fn stop(&mut self) {
        self.server.take().expect("it runs").stop().await;
    }

    /// Puts it on an empty folder, at the same address: another machine after the first one burned down.
    pub async fn begin_empty(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
        self.begin().await;
    }

    /// From the next begin on.
    pub fn choose(&mut self, choices: Choices) {
        self.choices = choices;
    }

    /// Begins it again on the same folder and port.
    pub async fn begin(&mut self) {
        let config = config(
            self.folder.path(),
            self.address,
            self.profile,
            &self.choices,
        );
        let ground = self.keeps.ground(self.folder.path());
        let server = Server::start_on(ground, config, Arc::new(SystemClock));
        self.server = Some(server.await.unwrap());
    }

    /// Tries to start another one on the same folder; why it does not start.
    pub async fn beside(&self) -> String {
        let listen = ([127, 0, 0, 1], 0).into();
        let config = config(self.folder.path(), listen, self.profile, &self.choices);
        let second = Server::start(config, Arc::new(SystemClock)).await;
        let error = second.err().expect("it does not start");
        drover_coordinator::supervise::chain(&error)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its probes are.
    pub fn http(&self) -> SocketAddr {
        self.server.as_ref().unwrap().http.unwrap()
    }

    /// A client of it.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}
