//! A TCP proxy between a worker and its coordinator that a test can cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// The proxy; it lives as long as the test's runtime.
#[derive(Clone)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    up: Arc<AtomicU64>,
    cut_at: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of a coordinator.
    pub async fn before(coordinator: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            up: Arc::default(),
            cut_at: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let serving = proxy.clone();
        TaskTracker::new().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let proxy = serving.clone();
                TaskTracker::new().spawn(async move {
                    if let Ok(far) = TcpStream::connect(coordinator).await {
                        proxy.pass(near, far).await;
                    }
                });
            }
        });
        proxy
    }

    /// Cuts the connection, once, when so many bytes have gone to the coordinator since the beginning.
    pub fn cut_at(&self, bytes: u64) {
        self.cut_at.store(bytes, Ordering::SeqCst);
    }

    /// Bytes that have gone to the coordinator.
    pub fn bytes_up(&self) -> u64 {
        self.up.load(Ordering::SeqCst)
    }

    /// True once the connection was cut.
    pub fn was_cut(&self) -> bool {
        self.cut_at.load(Ordering::SeqCst) == u64::MAX
    }

    async fn pass(&self, mut near: TcpStream, mut far: TcpStream) {
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = far.split();
        let up = async {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let Ok(n @ 1..) = near_read.read(&mut buffer).await else {
                    return;
                };
                let passed = self.up.fetch_add(n as u64, Ordering::SeqCst) + n as u64;
                if passed >= self.cut_at.load(Ordering::SeqCst) {
                    self.cut_at.store(u64::MAX, Ordering::SeqCst);
                    return;
                }
                if far_write.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        };
        // Whoever ends first takes both directions along; bytes on the way are lost, as they are on a network.
        tokio::select! {
            () = up => {}
            _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
        }
    }
}
