//! One run: sets everybody up, lets faults come and go, then waits until everything has ended.

use std::{collections::BTreeMap, time::Duration};

use drover_core::ids::Digest;
use turmoil::{Builder, Sim};

use crate::{
    check::{self, Violation},
    coordinator,
    disk::Mood,
    evidence::Evidence,
    faults::{Fault, Kind, OPERATOR},
    history::{Recorder, What},
    links::{Links, USUAL_LATENCY, Wrong},
    net::COORDINATOR,
    operator::Operator,
    scenario::{Planted, Scenario},
    worker,
    world::World,
};

/// The simulation's step: messages arrive and hosts run in turns of this length.
const TICK: Duration = Duration::from_millis(100);

/// Whoever starts processes waits so long before it begins one again that ended by itself.
const BEGIN_AGAIN: Duration = Duration::from_secs(3);

/// A link that broke by itself is whole again with the next message in so many cases.
const REPAIR: f64 = 0.3;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Of which seed.
    pub seed: u64,
    /// How long it was, simulated.
    pub simulated: Duration,
    /// Faults that came, by kind.
    pub faults: BTreeMap<Kind, u64>,
    /// Events on the disk.
    pub events: u64,
    /// Changes made outside.
    pub effects: u64,
    /// Over the whole history and everything on the disk: the same for the same seed.
    pub digest: Digest,
    /// What should not have happened.
    pub violations: Vec<Violation>,
}

/// Runs a seed and judges it.
///
/// # Errors
/// When the run cannot be set up, or the simulation itself fails.
pub fn run(seed: u64) -> anyhow::Result<Outcome> {
    judge(&Scenario::of(seed))
}

/// As [`run`], with a planted breakage that the rules are to find.
///
/// # Errors
/// As [`run`].
pub fn run_broken(seed: u64, planted: Planted) -> anyhow::Result<Outcome> {
    judge(&Scenario {
        planted: Some(planted),
        ..Scenario::of(seed)
    })
}

fn judge(scenario: &Scenario) -> anyhow::Result<Outcome> {
    let evidence = gather(scenario)?;
    let seed = scenario.seed;
    let mut faults = BTreeMap::new();
    for planned in &evidence.scenario.faults {
        *faults.entry(planned.fault.kind()).or_default() += 1;
    }
    Ok(Outcome {
        seed,
        simulated: evidence.simulated,
        faults,
        events: evidence.events(),
        effects: evidence.effects(),
        digest: evidence.digest(),
        violations: check::all(&evidence),
    })
}

/// Runs a scenario and gives everything that was seen.
fn gather(scenario: &Scenario) -> anyhow::Result<Evidence> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::new(scenario, folder.path())?;
    stage.trouble()?;
    stage.recovery()?;
    let history = stage.recorder.take();
    Evidence::new(
        scenario.clone(),
        stage.sim.elapsed(),
        history,
        stage.coordinator.disk.streams(),
        &stage.operator.backup(),
        stage.operator.open(),
    )
}

/// Everybody.
struct Stage<'a> {
    scenario: &'a Scenario,
    sim: Sim<'a>,
    recorder: Recorder,
    world: World,
    coordinator: coordinator::Machine,
    workers: BTreeMap<String, worker::Machine>,
    operator: Operator,
    links: Links,
    /// Hosts that are down, and when they begin again.
    down: BTreeMap<String, Duration>,
    /// Hosts that will die soon: when, and when they begin again.
    doomed: BTreeMap<String, (Duration, Duration)>,
}

/// What a fault does at its begin or its end.
enum Step<'a> {
    Begin(&'a Fault, Duration),
    End(&'a Fault),
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, folder: &std::path::Path) -> anyhow::Result<Self> {
        let seed = scenario.seed;
        let recorder = Recorder::default();
        let mut sim = Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(365 * 24 * 3600))
            .max_message_latency(USUAL_LATENCY)
            .repair_rate(REPAIR)
            .tcp_capacity(4096)
            .build();
        let coordinator = coordinator::Machine::new(scenario.profile, recorder.clone());
        if scenario.planted == Some(Planted::LyingDisk) {
            coordinator.disk.lie();
        }
        let machine = coordinator.clone();
        sim.host(COORDINATOR, move || machine.clone().run());
        let world = World::new(seed, recorder.clone(), scenario.profile.lease_ttl);
        let mut workers = BTreeMap::new();
        for id in &scenario.workers {
            let machine = worker::Machine::new(id, seed, folder, &world, &recorder)?;
            workers.insert(id.clone(), machine.clone());
            sim.host(id.as_str(), move || machine.clone().run());
        }
        let operator = Operator::new(scenario, recorder.clone());
        let plays = operator.clone();
        sim.client(OPERATOR, plays.run());
        Ok(Self {
            scenario,
            sim,
            links: Links::new(recorder.clone()),
            recorder,
            world,
            coordinator,
            workers,
            operator,
            down: BTreeMap::new(),
            doomed: BTreeMap::new(),
        })
    }

    /// Faults come and go.
    fn trouble(&mut self) -> anyhow::Result<()> {
        let mut steps: Vec<(Duration, Step<'a>)> = Vec::new();
        for planned in &self.scenario.faults {
            steps.push((planned.at, Step::Begin(&planned.fault, planned.until)));
            steps.push((planned.until, Step::End(&planned.fault)));
        }
        // Stable: what begins and ends at the same time does so in the order of the plan.
        steps.sort_by_key(|(at, _)| *at);
        for (at, step) in steps {
            self.play_until(at)?;
            match step {
                Step::Begin(fault, until) => self.begin(fault, until),
                Step::End(fault) => self.end(fault),
            }
        }
        self.play_until(self.scenario.trouble)
    }

    /// Nothing goes wrong any more.
    fn recovery(&mut self) -> anyhow::Result<()> {
        self.coordinator.disk.set_mood(Mood::Fine);
        for host in self.workers.keys().map(String::as_str).chain([OPERATOR]) {
            // A link that lost a message may still be broken.
            self.sim.repair(host, COORDINATOR);
        }
        self.world.calm();
        self.operator.faults_are_over();
        self.recorder.note(What::FaultsOver);
        let until = self.sim.elapsed() + self.scenario.patience + self.coordinator.clock.behind();
        while !self.operator.is_done() && self.sim.elapsed() < until {
            self.tick()?;
        }
        Ok(())
    }

    fn play_until(&mut self, at: Duration) -> anyhow::Result<()> {
        while self.sim.elapsed() < at {
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        self.sim
            .step()
            .map_err(|error| anyhow::anyhow!("the simulation failed: {error}"))?;
        let now = self.sim.elapsed();
        self.recorder.set_now(now);
        if self.coordinator.disk.is_dying() {
            self.crash(COORDINATOR, now + BEGIN_AGAIN);
        }
        let doomed = std::mem::take(&mut self.doomed);
        for (host, (at, until)) in doomed {
            if at <= now {
                self.crash(&host, until);
            } else {
                self.doomed.insert(host, (at, until));
            }
        }
        let due: Vec<String> = self
            .down
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(host, _)| host.clone())
            .collect();
        for host in due {
            self.down.remove(&host);
            self.sim.bounce(host.as_str());
        }
        let hosts = self.workers.keys().map(String::as_str);
        let ended: Vec<String> = hosts
            .chain([COORDINATOR])
            .filter(|host| !self.down.contains_key(*host))
            .map(ToOwned::to_owned)
            .collect();
        for host in ended {
            if !self.sim.is_host_running(host.as_str()) {
                self.down.insert(host, now + BEGIN_AGAIN);
            }
        }
        Ok(())
    }

    /// A process ends where it stands, and begins again then.
    fn crash(&mut self, host: &str, until: Duration) {
        self.sim.crash(host);
        if host == COORDINATOR {
            self.coordinator.disk.crash();
        }
        if self.scenario.planted == Some(Planted::EmptiedSpools)
            && let Some(machine) = self.workers.get(host)
        {
            machine.empty_spool();
        }
        self.recorder.note(What::Crashed {
            host: host.to_owned(),
        });
        self.down.insert(host.to_owned(), until);
    }

    fn begin(&mut self, fault: &Fault, until: Duration) {
        match fault {
            Fault::Partition { hosts, .. } => {
                for host in hosts {
                    self.links.begin(&mut self.sim, host, Wrong::Cut);
                }
            }
            Fault::OneWay {
                host,
                to_coordinator,
            } => self
                .links
                .begin(&mut self.sim, host, one_way(*to_coordinator)),
            Fault::Hold { host } => self.links.begin(&mut self.sim, host, Wrong::Held),
            Fault::Loss { host, per_mille } => {
                let rate = f64::from(u32::try_from(*per_mille).unwrap_or(1000)) / 1000.0;
                self.sim
                    .set_link_fail_rate(host.as_str(), COORDINATOR, rate);
            }
            Fault::Latency { host, takes } => {
                self.sim
                    .set_link_max_message_latency(host.as_str(), COORDINATOR, *takes);
            }
            Fault::CoordinatorCrash => self.crash(COORDINATOR, until),
            Fault::PowerCut { keeps } => {
                self.coordinator.disk.set_mood(Mood::Dies { keeps: *keeps });
            }
            Fault::DiskError { keeps } => {
                self.coordinator
                    .disk
                    .set_mood(Mood::Fails { keeps: *keeps });
            }
            Fault::DiskFull => self.coordinator.set_full(true),
            Fault::ClockJump { seconds } => self.coordinator.clock.jump(*seconds),
            Fault::Crash { hosts, .. } => {
                for host in hosts {
                    self.crash(host, until);
                }
            }
            Fault::NodeLoss { host, lives_on } => {
                self.links.begin(&mut self.sim, host, Wrong::Cut);
                let dies = self.sim.elapsed() + *lives_on;
                self.doomed.insert(host.clone(), (dies, until.max(dies)));
            }
            Fault::WorkerRestart { host } => {
                if let Some(machine) = self.workers.get(host) {
                    machine.stop();
                }
            }
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Partition { hosts, .. } => {
                for host in hosts {
                    self.links.end(&mut self.sim, host, Wrong::Cut);
                }
            }
            Fault::OneWay {
                host,
                to_coordinator,
            } => self
                .links
                .end(&mut self.sim, host, one_way(*to_coordinator)),
            Fault::Hold { host } => self.links.end(&mut self.sim, host, Wrong::Held),
            Fault::NodeLoss { host, .. } => self.links.end(&mut self.sim, host, Wrong::Cut),
            Fault::Loss { host, .. } => {
                self.sim.set_link_fail_rate(host.as_str(), COORDINATOR, 0.0);
            }
            Fault::Latency { host, .. } => {
                self.sim
                    .set_link_max_message_latency(host.as_str(), COORDINATOR, USUAL_LATENCY);
            }
            Fault::DiskFull => self.coordinator.set_full(false),
            // Over by itself, or when the process begins again.
            Fault::CoordinatorCrash
            | Fault::PowerCut { .. }
            | Fault::DiskError { .. }
            | Fault::ClockJump { .. }
            | Fault::Crash { .. }
            | Fault::WorkerRestart { .. } => {}
        }
    }
}

fn one_way(to_coordinator: bool) -> Wrong {
    if to_coordinator {
        Wrong::Deaf
    } else {
        Wrong::Mute
    }
}
