//! The watch over route tables: how long, what it says, and that it goes on where it was.

use std::{sync::Arc, time::Duration};

use drover_sim::Fate;
use drover_step_api::Clock as _;
use drover_step_testkit::{DrivenStep, Driver, End, Mode};
use drover_steps_checks::watch_routes::{Output, Params, WatchRoutes};
use serde_json::json;

use crate::stage::{Migration, Town, kinds};

const HOUR: Duration = Duration::from_secs(3600);

/// Where the sample's customer has a peering to.
const PEERED: &str = "10.0.0.0/24";

async fn applied() -> Town {
    let mut migration = Migration::of(Town::three_masters());
    migration.before("hold-control-plane").await;
    migration.town
}

fn watch(town: &Town) -> DrivenStep {
    let driver = Driver::new(
        Arc::new(kinds()),
        Arc::new(town.world.door()),
        Arc::new(town.world.clock()),
        town.installation.as_str(),
        "watch",
    );
    let params: Params = serde_json::from_value(json!({"cluster": town.cluster})).unwrap();
    driver.step::<WatchRoutes>("watch", &params)
}

fn output(end: End) -> Output {
    match end {
        End::Done(output) => serde_json::from_value(output).unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_without_a_change_is_told_in_figures() {
    let town = applied().await;
    let begin = town.world.clock().now();
    let found = output(watch(&town).run().await.end);
    let took = town.world.clock().now().since(begin);
    assert!((24 * HOUR..25 * HOUR).contains(&took), "{took:?}");
    assert_eq!(found.differed, Vec::<String>::new());
    assert!(found.looks >= 700, "{}", found.looks);
    assert!(found.tables > 1 && found.routes > found.tables);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_vanishes_ends_it_and_a_retry_goes_on_where_it_was() {
    let town = applied().await;
    let begin = town.world.clock().now();
    let watch = watch(&town);
    let vanishes = async {
        town.world.clock().sleep(10 * HOUR).await;
        town.befall(&Fate::RouteRemoved(PEERED.to_owned()));
    };
    let (outcome, ()) = tokio::join!(watch.run(), vanishes);
    match outcome.end {
        End::Stopped(error) => {
            assert_eq!(error.code(), "route-vanished");
            let words = format!("the route to {PEERED} by pcx-");
            assert!(error.message().contains(&words), "{error}");
        }
        other => panic!("{other}"),
    }
    let noticed = town.world.clock().now().since(begin);
    assert!(
        noticed < 10 * HOUR + Duration::from_secs(300),
        "{noticed:?}"
    );

    let again = watch.start(Mode::Run).end().await;
    assert!(matches!(again.end, End::Stopped(_)), "it is still gone");
    town.befall(&Fate::RouteAdded(PEERED.to_owned(), "pcx-new".to_owned()));
    let found = output(watch.start(Mode::Run).end().await.end);
    let took = town.world.clock().now().since(begin);
    assert!(took < 25 * HOUR, "no second day: {took:?}");
    assert!(found.looks >= 690, "those of before count: {}", found.looks);
    let told = found
        .differed
        .iter()
        .all(|what| what.contains("leads to pcx-new instead of"));
    assert!(told && !found.differed.is_empty(), "{:?}", found.differed);
}

/// Whoever replaces a route takes it away for a moment.
#[tokio::test(start_paused = true)]
async fn a_route_that_is_replaced_has_not_vanished() {
    let town = applied().await;
    let watch = watch(&town);
    let replaced = async {
        let clock = town.world.clock();
        clock.sleep(HOUR).await;
        // Just when it looks.
        let looks = || town.world.now().ledger(0).count();
        let before = looks();
        town.befall(&Fate::RouteRemoved(PEERED.to_owned()));
        while looks() == before {
            clock.sleep(Duration::from_millis(100)).await;
        }
        town.befall(&Fate::RouteAdded(PEERED.to_owned(), "pcx-new".to_owned()));
    };
    let (outcome, ()) = tokio::join!(watch.run(), replaced);
    let found = output(outcome.end);
    assert!(!found.differed.is_empty());
}

/// The time is over, and nobody has looked for a day: the last look is still to be taken.
#[tokio::test(start_paused = true)]
async fn a_retry_that_comes_late_looks_once_more() {
    let town = applied().await;
    let clock = town.world.clock();
    let watch = watch(&town);
    let vanishes = async {
        clock.sleep(HOUR).await;
        town.befall(&Fate::RouteRemoved(PEERED.to_owned()));
    };
    let (outcome, ()) = tokio::join!(watch.run(), vanishes);
    assert!(matches!(outcome.end, End::Stopped(_)), "it is gone");
    clock.sleep(30 * HOUR).await;
    let late = watch.start(Mode::Run).end().await;
    assert!(matches!(late.end, End::Stopped(_)), "it is gone still");
    town.befall(&Fate::RouteAdded(PEERED.to_owned(), "pcx-new".to_owned()));
    let begin = clock.now();
    let found = output(watch.start(Mode::Run).end().await.end);
    assert!(clock.now().since(begin) < HOUR, "no other day");
    assert!(!found.differed.is_empty());
}
