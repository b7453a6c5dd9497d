//! What goes wrong: the kinds of faults, and which of them come when.

use std::{fmt, time::Duration};

use crate::{chance::Chance, scenario::Scenario};

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing passes between one host and the coordinator.
    Partition,
    /// Nothing passes in one direction.
    OneWay,
    /// Nothing passes between a whole installation and the coordinator.
    RegionCut,
    /// Messages wait, and all arrive at once when it ends.
    Hold,
    /// Some messages are lost on their way; a connection that lost one stalls.
    Loss,
    /// Messages take long.
    Latency,
    /// The coordinator's process ends where it stands, and begins again.
    CoordinatorCrash,
    /// The coordinator's machine dies while the disk syncs a batch.
    PowerCut,
    /// A sync fails; the coordinator goes on.
    DiskError,
    /// The coordinator's disk is full for a while.
    DiskFull,
    /// Somebody sets the clock of the coordinator's machine.
    ClockJump,
    /// A worker's process ends where it stands, and begins again on its spool.
    WorkerCrash,
    /// All processes of an installation do.
    PoolCrash,
    /// A worker's node dies: first its link, then its process; then it is back, with its spool.
    NodeLoss,
    /// A worker is told to stop in good order, and begins again.
    WorkerRestart,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Partition,
        Self::OneWay,
        Self::RegionCut,
        Self::Hold,
        Self::Loss,
        Self::Latency,
        Self::CoordinatorCrash,
        Self::PowerCut,
        Self::DiskError,
        Self::DiskFull,
        Self::ClockJump,
        Self::WorkerCrash,
        Self::PoolCrash,
        Self::NodeLoss,
        Self::WorkerRestart,
    ];

    /// The kind's word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::OneWay => "one-way partition",
            Self::RegionCut => "region cut off",
            Self::Hold => "messages held",
            Self::Loss => "message loss",
            Self::Latency => "latency",
            Self::CoordinatorCrash => "coordinator crash",
            Self::PowerCut => "power cut in a sync",
            Self::DiskError => "disk error",
            Self::DiskFull => "disk full",
            Self::ClockJump => "clock jump",
            Self::WorkerCrash => "worker crash",
            Self::PoolCrash => "pool crash",
            Self::NodeLoss => "node lost",
            Self::WorkerRestart => "worker restart",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// When it is over.
    pub until: Duration,
    /// What.
    pub fault: Fault,
}

/// A fault with its target.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// See [`Kind::Partition`] and [`Kind::RegionCut`].
    Partition {
        /// Cut off from the coordinator.
        hosts: Vec<String>,
        /// It is a whole installation.
        region: bool,
    },
    /// See [`Kind::OneWay`].
    OneWay {
        /// Which host.
        host: String,
        /// What it says is lost; otherwise what it is told.
        to_coordinator: bool,
    },
    /// See [`Kind::Hold`].
    Hold {
        /// Which host.
        host: String,
    },
    /// See [`Kind::Loss`].
    Loss {
        /// Which host.
        host: String,
        /// Of a thousand messages.
        per_mille: u64,
    },
    /// See [`Kind::Latency`].
    Latency {
        /// Which host.
        host: String,
        /// How long a message takes.
        takes: Duration,
    },
    /// See [`Kind::CoordinatorCrash`].
    CoordinatorCrash,
    /// See [`Kind::PowerCut`].
    PowerCut {
        /// The batch is on the disk.
        keeps: bool,
    },
    /// See [`Kind::DiskError`].
    DiskError {
        /// The batch is on the disk.
        keeps: bool,
    },
    /// See [`Kind::DiskFull`].
    DiskFull,
    /// See [`Kind::ClockJump`].
    ClockJump {
        /// By so many seconds.
        seconds: i64,
    },
    /// See [`Kind::WorkerCrash`] and [`Kind::PoolCrash`].
    Crash {
        /// Which hosts.
        hosts: Vec<String>,
        /// It is a whole installation.
        pool: bool,
    },
    /// See [`Kind::NodeLoss`].
    NodeLoss {
        /// Which host.
        host: String,
        /// Its process lives on so long without its link.
        lives_on: Duration,
    },
    /// See [`Kind::WorkerRestart`].
    WorkerRestart {
        /// Which host.
        host: String,
    },
}

impl Fault {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Partition { region: false, .. } => Kind::Partition,
            Self::Partition { region: true, .. } => Kind::RegionCut,
            Self::OneWay { .. } => Kind::OneWay,
            Self::Hold { .. } => Kind::Hold,
            Self::Loss { .. } => Kind::Loss,
            Self::Latency { .. } => Kind::Latency,
            Self::CoordinatorCrash => Kind::CoordinatorCrash,
            Self::PowerCut { .. } => Kind::PowerCut,
            Self::DiskError { .. } => Kind::DiskError,
            Self::DiskFull => Kind::DiskFull,
            Self::ClockJump { .. } => Kind::ClockJump,
            Self::Crash { pool: false, .. } => Kind::WorkerCrash,
            Self::Crash { pool: true, .. } => Kind::PoolCrash,
            Self::NodeLoss { .. } => Kind::NodeLoss,
            Self::WorkerRestart { .. } => Kind::WorkerRestart,
        }
    }
}

/// The operator's host can be cut off, too.
pub(crate) const OPERATOR: &str = "operator";

/// The faults of a run, by time.
pub(crate) fn plan(seed: u64, workers: &[String], trouble: Duration) -> Vec<Planned> {
    let mut chance = Chance::of(seed, "faults");
    // Each run has its own leaning, so that some are full of one kind.
    let favourite = chance.pick(&Kind::ALL);
    let mut faults = Vec::new();
    let mut at = Duration::from_secs(10);
    loop {
        at += chance.between(Duration::from_secs(3), Duration::from_secs(35));
        if at >= trouble {
            return faults;
        }
        let kind = if chance.percent(30.0) {
            favourite
        } else {
            chance.pick(&Kind::ALL)
        };
        let lasts = match chance.index(10) {
            0..6 => chance.between(Duration::from_secs(1), Duration::from_secs(15)),
            6..9 => chance.between(Duration::from_secs(15), Duration::from_secs(90)),
            _ => chance.between(Duration::from_secs(90), Duration::from_secs(400)),
        };
        let fault = draw(kind, workers, &mut chance);
        faults.push(Planned {
            at,
            until: (at + lasts).min(trouble),
            fault,
        });
    }
}

fn draw(kind: Kind, workers: &[String], chance: &mut Chance) -> Fault {
    let worker = workers[chance.index(workers.len())].clone();
    let pool: Vec<String> = workers
        .iter()
        .filter(|other| Scenario::pool_of(other) == Scenario::pool_of(&worker))
        .cloned()
        .collect();
    let anybody = if chance.percent(10.0) {
        OPERATOR.to_owned()
    } else {
        worker.clone()
    };
    match kind {
        Kind::Partition => Fault::Partition {
            hosts: vec![anybody],
            region: false,
        },
        Kind::RegionCut => Fault::Partition {
            hosts: pool,
            region: true,
        },
        Kind::OneWay => Fault::OneWay {
            host: worker,
            to_coordinator: chance.percent(50.0),
        },
        Kind::Hold => Fault::Hold { host: anybody },
        Kind::Loss => Fault::Loss {
            host: anybody,
            per_mille: chance.number(5, 200),
        },
        Kind::Latency => Fault::Latency {
            host: anybody,
            takes: chance.between(Duration::from_millis(300), Duration::from_secs(4)),
        },
        Kind::CoordinatorCrash => Fault::CoordinatorCrash,
        Kind::PowerCut => Fault::PowerCut {
            keeps: chance.percent(50.0),
        },
        Kind::DiskError => Fault::DiskError {
            keeps: chance.percent(50.0),
        },
        Kind::DiskFull => Fault::DiskFull,
        Kind::ClockJump => Fault::ClockJump {
            seconds: chance.pick(&[-600, -60, -5, 5, 60, 300]),
        },
        Kind::WorkerCrash => Fault::Crash {
            hosts: vec![worker],
            pool: false,
        },
        Kind::PoolCrash => Fault::Crash {
            hosts: pool,
            pool: true,
        },
        Kind::NodeLoss => Fault::NodeLoss {
            host: worker,
            lives_on: chance.between(Duration::from_secs(1), Duration::from_secs(20)),
        },
        Kind::WorkerRestart => Fault::WorkerRestart { host: worker },
    }
}
