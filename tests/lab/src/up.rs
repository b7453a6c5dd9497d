//! A lab's life, seen from outside.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum as _};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::{
    endpoints::Service,
    migrate::{MigrateArgs, Report},
    place::{Parts, Place},
    prober::Seen,
    space,
    story::say,
    town::Shape,
};

/// How a lab is made.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShapeArgs {
    /// AWS region; a region of China makes a lab of the partition aws-cn
    #[arg(long, value_name = "REGION", default_value = "eu-central-1")]
    region: String,
    /// Vintage masters
    #[arg(long, value_name = "1|3", default_value_t = 3, value_parser = masters)]
    masters: u32,
    /// How fast liveness is judged: lan, or test for migrations with kills
    #[arg(long, value_name = "NAME", default_value = "lan")]
    profile: String,
    /// Faults of AWS: CALLS=EFFECT@PERCENT, for example elasticloadbalancing:*=throttled@20
    #[arg(long, value_name = "FAULT")]
    fault: Vec<String>,
}

fn masters(word: &str) -> Result<u32, String> {
    match word {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("vintage clusters have 1 or 3".to_owned()),
    }
}

impl ShapeArgs {
    /// As data.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            region: self.region.clone(),
            masters: self.masters,
            profile: self.profile.clone(),
            faults: self.fault.clone(),
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--region={}", self.region),
            format!("--masters={}", self.masters),
            format!("--profile={}", self.profile),
        ];
        words.extend(self.fault.iter().map(|fault| format!("--fault={fault}")));
        words
    }
}

/// How long a lab may take to begin.
const BEGIN: Duration = Duration::from_secs(300);

/// Begins a lab and waits until everything in it runs.
pub(crate) async fn up(place: &Place, shape: &ShapeArgs) -> anyhow::Result<()> {
    Parts::find()?;
    ensure!(
        place.running().is_none(),
        "lab {} runs already; end it with: tests/lab/run down --lab {}",
        place.name,
        place.name
    );
    place.reset()?;
    let mut args = vec![
        "inside".to_owned(),
        "init".to_owned(),
        format!("--lab={}", place.name),
    ];
    args.extend(shape.words());
    space::begin(place, &args).await?;
    let begin = Instant::now();
    let mut told = 0;
    while !place.path("ready").exists() {
        let story = std::fs::read_to_string(place.path("story")).unwrap_or_default();
        for line in story.lines().skip(told) {
            let (_, line) = line.split_once(' ').unwrap_or(("", line));
            say(&format!("{:7.1} s  {line}", begin.elapsed().as_secs_f64()));
            told += 1;
        }
        if place.running().is_none() {
            let log = std::fs::read_to_string(place.log("lab")).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it said nothing");
            bail!(
                "the lab did not begin: {last}; logs are in {}",
                place.path("logs").display()
            );
        }
        if begin.elapsed() > BEGIN {
            bail!(
                "the lab is not ready after {} s; logs are in {}",
                BEGIN.as_secs(),
                place.path("logs").display()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    status(place)
}

/// Says what runs and how to look around.
pub(crate) fn status(place: &Place) -> anyhow::Result<()> {
    let name = &place.name;
    if place.running().is_none() {
        say(&format!(
            "lab {name} does not run; begin it with: tests/lab/run up --lab {name}"
        ));
        return Ok(());
    }
    let story = std::fs::read_to_string(place.path("story")).unwrap_or_default();
    for line in story.lines() {
        say(line);
    }
    let kubectl = |of: &str| {
        format!(
            "tests/lab/run exec --lab {name} -- kubectl --kubeconfig {}",
            place.kubeconfig(of).display()
        )
    };
    say(&format!("\nlook around in lab {name}:"));
    for of in ["workload", "capi-mc", "vintage-mc"] {
        say(&format!("  {} get …", kubectl(of)));
    }
    say(&format!(
        "logs: {}\nnodes: {}",
        place.path("logs").display(),
        place.path("nodes").display()
    ));
    Ok(())
}

/// Migrates, in a lab that runs or in one that is begun for it.
pub(crate) async fn migrate(
    place: &Place,
    shape: &ShapeArgs,
    args: &MigrateArgs,
    keep: bool,
) -> anyhow::Result<()> {
    let begun = place.running().is_none();
    if begun {
        up(place, shape).await?;
    }
    let mut command = vec![
        std::env::current_exe()?.display().to_string(),
        "inside".to_owned(),
        "migrate".to_owned(),
        format!("--lab={}", place.name),
    ];
    command.extend(args.until.iter().map(|until| format!("--until={until}")));
    let order = args.order.to_possible_value();
    command.extend(
        order
            .map(|order| format!("--order={}", order.get_name()))
            .filter(|_| args.until.is_none()),
    );
    command.extend(args.after_care.then(|| "--after-care".to_owned()));
    command.extend(args.compare.then(|| "--compare".to_owned()));
    command.extend(args.kill.iter().map(|kill| format!("--kill={kill}")));
    let status = space::enter(place, &command)?.status().await?;
    if begun && !keep {
        down(place).await?;
    }
    ensure!(
        status.success(),
        "the migration failed; logs are in {}",
        place.path("logs").display()
    );
    Ok(())
}

/// Runs a command inside.
pub(crate) async fn exec(place: &Place, command: &[String]) -> anyhow::Result<()> {
    let mut entered = space::enter(place, command)?;
    entered.env("KUBECONFIG", place.kubeconfig("workload"));
    let status = entered
        .status()
        .await
        .context("nsenter (package util-linux)")?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        command.join(" ")
    );
    Ok(())
}

/// Ends a lab. One that does not run has ended.
pub(crate) async fn down(place: &Place) -> anyhow::Result<()> {
    let Some(pid) = place.running() else {
        return Ok(());
    };
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a pid")?;
    kill_process(pid, Signal::KILL)?;
    let begin = Instant::now();
    while place.running().is_some() {
        ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "the lab does not end"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The first process of the lab's process space: begins everything, takes in whoever is left behind, and ends when that ends,
/// whereupon the kernel ends the rest.
pub(crate) fn init(name: &str, shape: &ShapeArgs) -> anyhow::Result<()> {
    let town = Command::new(std::env::current_exe()?)
        .args(["inside", "town", &format!("--lab={name}")])
        .args(shape.words())
        .spawn()?;
    let town = i32::try_from(town.id()).ok().and_then(Pid::from_raw);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == town => {
                ensure!(status.exit_status() == Some(0), "the lab ended");
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a migration came to.
pub(crate) fn print(report: &Report) {
    say(&format!(
        "\nmigrated in {:.0} s ({})",
        report.seconds, report.partition
    ));
    print_seen(&report.seen, &report.service);
    if let Some(proofs) = &report.proofs {
        say(&format!(
            "keyspace unchanged ({}), token and Secret good",
            &proofs.keyspace[..12]
        ));
        say(&format!("etcd members: {}", report.members.join(", ")));
    }
    for (balancer, instances) in &report.registrations {
        say(&format!("{balancer}: {}", instances.join(", ")));
    }
    for kill in &report.kills {
        say(&format!("killed {kill}"));
    }
    if let Some(care) = &report.after_care {
        say(&format!("\ncared for in {:.0} s", care.seconds));
        print_seen(&care.seen, &care.service);
        say(&format!("etcd members: {}", care.members.join(", ")));
        say(&format!("tokens come from {}", care.issuer));
    }
}

fn print_seen(seen: &BTreeMap<String, Seen>, service: &Service) {
    for (name, seen) in seen {
        say(&format!(
            "{name}: {} requests, {} failed; median {:.1} ms, p99 {:.1} ms, slowest {:.0} ms (at {:.1} s)",
            seen.requests,
            seen.failed,
            seen.median_ms,
            seen.p99_ms,
            seen.slowest_ms,
            seen.slowest_at
        ));
        for gap in &seen.gaps {
            say(&format!(
                "  gap of {:.2} s at {:.1} s, {} requests: {}",
                gap.until - gap.from,
                gap.from,
                gap.failed,
                gap.first
            ));
        }
    }
    let ports: Vec<String> = service
        .ports
        .iter()
        .map(|(port, seconds)| format!("port {port} for {seconds:.0} s"))
        .collect();
    say(&format!(
        "kubernetes service: {} changes, {} of the port; {}",
        service.changes,
        service.flips,
        ports.join(", ")
    ));
}
