//! Signals of a server: the first SIGTERM or SIGINT asks it to end in good order, the second ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

/// What asks this process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to watch. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one. Cancel-safe.
    pub async fn next(&mut self) {
        // Both arms are cancel-safe: signals.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends when the first signal comes; from then on a second one ends the process with exit code 1.
    pub async fn graceful(mut self) {
        self.next().await;
        // Lives as long as the process; nobody waits for it.
        TaskTracker::new().spawn(async move {
            self.next().await;
            std::process::exit(1);
        });
    }
}
