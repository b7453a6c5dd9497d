//! A coordinator in this process that can be stopped and begun again on the same folder and port.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use drover_coordinator::{
    clock::SystemClock,
    server::{Config, Server},
};
use drover_core::lease::Profile;
use tempfile::TempDir;

use crate::client::Client;

/// A coordinator and its folder.
pub struct Coordinator {
    folder: TempDir,
    server: Option<Server>,
    /// Where it listens, also after it was begun again.
    pub address: SocketAddr,
    profile: Profile,
}

fn config(folder: &Path, listen: SocketAddr, profile: Profile) -> Config {
    Config {
        listen,
        http: Some(([127, 0, 0, 1], 0).into()),
        data: folder.join("data"),
        profile,
        cancel_grace: Duration::from_secs(2),
        low_space: 0,
        full_space: 0,
        signing_key: None,
    }
}

impl Coordinator {
    /// On an empty folder, with the test profile.
    pub async fn start() -> Self {
        Self::with(Profile::TEST).await
    }

    /// On an empty folder.
    pub async fn with(profile: Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = ([127, 0, 0, 1], 0).into();
        let server = Server::start(
            config(folder.path(), listen, profile),
            Arc::new(SystemClock),
        )
        .await
        .unwrap();
        let address = server.address;
        Self {
            folder,
            server: Some(server),
            address,
            profile,
        }
    }

    /// Ends it; its folder stays.
    pub async fn stop(&mut self) {
        self.server.take().expect("it runs").stop().await;
    }

    /// Begins it again on the same folder and port.
    pub async fn begin(&mut self) {
        let config = config(self.folder.path(), self.address, self.profile);
        self.server = Some(Server::start(config, Arc::new(SystemClock)).await.unwrap());
    }

    /// The data folder.
    pub fn data(&self) -> std::path::PathBuf {
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
