//! The old names are handed over: what the migration does in Route 53 after the stretch that the lab plays. The one who asks and
//! the one who keeps the lab's names are two processes; the word goes through a file.

use std::{fs, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    hosts::Hosts,
    management::until,
    place::Place,
    story::say,
    town::{CLUSTER, Facts},
};

/// From one look for word to the next.
const PERIOD: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize, Deserialize)]
struct HandOver {
    names: [String; 2],
    to: String,
}

/// Hands the names of the vintage API over to the load balancer `to`, and waits until they lead there.
pub(crate) async fn hand_over(place: &Place, facts: &Facts, to: &str) -> anyhow::Result<()> {
    let old = &facts.plan.endpoints.old_api;
    let word = HandOver {
        names: [old.clone(), format!("internal-{old}")],
        to: to.to_owned(),
    };
    let file = file(place);
    // Renamed into its place: who looks sees all of it.
    let fresh = file.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(&word)?)?;
    fs::rename(&fresh, &file)?;
    until(
        "the old name's hand-over",
        Duration::from_secs(30),
        async || {
            anyhow::ensure!(
                address(old).await? == address(to).await?,
                "{old} leads elsewhere"
            );
            Ok(())
        },
    )
    .await?;
    say(&format!("the names of {CLUSTER} lead to {to}"));
    Ok(())
}

async fn address(name: &str) -> anyhow::Result<Option<std::net::IpAddr>> {
    let mut found = tokio::net::lookup_host((name, 443)).await?;
    Ok(found.next().map(|found| found.ip()))
}

/// Keeps the names as they were handed over, for as long as the lab runs.
pub(crate) async fn follow(place: Place, hosts: Hosts) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        if let Err(error) = look(&place, &hosts) {
            say(&format!("the old names: {error:#}"));
        }
    }
}

fn look(place: &Place, hosts: &Hosts) -> anyhow::Result<()> {
    let text = match fs::read(file(place)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let word: HandOver = serde_json::from_slice(&text)?;
    if let Some(address) = hosts.get(&word.to) {
        for name in &word.names {
            hosts.set(name, address)?;
        }
    }
    Ok(())
}

fn file(place: &Place) -> std::path::PathBuf {
    place.path("handed-over.json")
}
