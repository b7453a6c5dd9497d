//! How much room is left, and what that means.
//!
//! Below the low watermark new workflows are refused; below the full one nothing is written at all: reports of workers
//! wait in memory and in the workers' spools, beats are still answered so that leases live on, and everything goes on
//! when there is room again.

use std::time::Duration;

use super::Engine;
use crate::refusal::{Kind, Refusal};

/// Looks at the disk at most so often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    #[default]
    Fine,
    Low,
    Full,
}

/// What is known of the disk.
#[derive(Debug, Default)]
pub struct Space {
    /// Free bytes at the last look.
    pub free: Option<u64>,
    level: Level,
    looked_at: Option<tokio::time::Instant>,
}

impl Space {
    /// Nothing is written.
    pub(super) fn is_full(&self) -> bool {
        self.level == Level::Full
    }

    /// Why something that writes is refused now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let free = self.free.unwrap_or(0) >> 20;
        match self.level {
            Level::Fine => None,
            Level::Low => Some(Refusal::new(
                Kind::Unavailable,
                "storage-low",
                format!(
                    "the data folder's disk has {free} MiB left: free some space; running workflows go on, new ones are refused"
                ),
            )),
            Level::Full => Some(Refusal::new(
                Kind::Unavailable,
                "storage-full",
                format!(
                    "the data folder's disk has {free} MiB left and nothing is written: free some space; nothing is lost"
                ),
            )),
        }
    }
}

impl Engine {
    pub(super) fn watch_space(&mut self) {
        let now = tokio::time::Instant::now();
        if self
            .space
            .looked_at
            .is_some_and(|at| now.duration_since(at) < LOOK_EVERY)
        {
            return;
        }
        self.space.looked_at = Some(now);
        self.space.free = (self.settings.free_space)();
        let level = match self.space.free {
            Some(free) if free < self.settings.full_space => Level::Full,
            Some(free) if free < self.settings.low_space => Level::Low,
            Some(_) | None => Level::Fine,
        };
        if level == self.space.level {
            return;
        }
        let free = self.space.free.unwrap_or(0);
        match level {
            Level::Fine => tracing::info!(free, "the data folder's disk has room again"),
            Level::Low => tracing::error!(
                free,
                "the data folder's disk is nearly full; new workflows are refused"
            ),
            Level::Full => {
                tracing::error!(free, "the data folder's disk is full; nothing is written")
            }
        }
        let was_full = self.space.is_full();
        self.space.level = level;
        if was_full && level != Level::Full {
            for (session, frame) in std::mem::take(&mut self.deferred) {
                self.frame(session, frame);
            }
            self.queues.touch();
            self.live_deadline = None;
        }
    }

    /// Refuses what would write while nothing can be written.
    pub(super) fn check_full(&self) -> Result<(), Refusal> {
        if self.space.is_full() {
            Err(self.space.refusal().unwrap_or_else(Refusal::unavailable))
        } else {
            Ok(())
        }
    }

    /// Refuses what would begin something new while there is little room.
    pub(super) fn check_low(&self) -> Result<(), Refusal> {
        self.space.refusal().map_or(Ok(()), Err)
    }
}
