//! The driver by itself, as an end-to-end test uses it.

use std::{sync::Arc, time::Duration};

use drover_ports::Ports;
use drover_step_api::{Certainty, ObservedJson, Registry};
use drover_step_testkit::{Driver, End, Fixture as _, Mode};
use tokio::time::timeout;

use crate::{
    flawed::{Flawed, flaws},
    good::{AwaitSeen, ClusterParams, Held, HoldCluster, KeepRegistered, registry},
    planted::registry_of,
    world::World,
};

struct Play {
    world: World,
    driver: Driver,
    params: ClusterParams,
}

impl Play {
    fn new() -> Self {
        Self::of(registry())
    }

    fn of(registry: Registry<Ports>) -> Self {
        let world = World::new();
        let params = ClusterParams::sample();
        world.add_cluster(&params.cluster);
        let driver = Driver::new(
            Arc::new(registry),
            world.door(),
            world.clock(),
            world.installation(),
            "wf-1",
        );
        Self {
            world,
            driver,
            params,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_migration_is_played_step_by_step() {
    let play = Play::new();
    let held: Held = play.driver.play::<HoldCluster>("hold", &play.params).await;
    assert_eq!(held.note, play.params.cluster);
    play.driver.play::<AwaitSeen>("await", &play.params).await;
    let ledger = play.world.ledger();
    assert!(ledger.iter().all(|entry| entry.stamp.step == "hold"));
    assert_eq!(ledger.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn attempts_have_growing_fences_and_one_idempotency_key() {
    let play = Play::new();
    let step = play.driver.step::<HoldCluster>("hold", &play.params);
    let first = step.run().await;
    let second = step.run().await;
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert!(second.fence > first.fence);
    let ledger = play.world.ledger();
    let (one, two) = ledger.split_at(3);
    for (one, two) in one.iter().zip(two) {
        assert_eq!(one.stamp.idempotency_key, two.stamp.idempotency_key);
        assert!(one.changed && !two.changed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_attempt_left_is_carried_to_the_next_and_to_the_way_back() {
    let play = Play::new();
    let step = play.driver.step::<HoldCluster>("hold", &play.params);
    // 20 ms a call: it dies in the third.
    let crashed = timeout(Duration::from_millis(50), step.start(Mode::Run).end()).await;
    assert!(crashed.is_err());
    assert!(step.checkpoint().is_some());
    step.run().await.done().expect("a second attempt succeeds");
    assert!(matches!(step.compensate().await.end, End::Compensated));
    assert!(play.world.state().suspended.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lever_ends_a_wait_at_once() {
    for (pull, certainty) in [
        (0, Certainty::Yielded),
        (1, Certainty::Cancelled),
        (2, Certainty::Superseded),
    ] {
        let play = Play::new();
        let running = play.driver.step::<AwaitSeen>("await", &play.params);
        let running = running.start(Mode::Run).in_background();
        play.driver.clock().sleep(Duration::from_secs(7)).await;
        match pull {
            0 => running.levers().pause(),
            1 => running.levers().cancel(),
            _ => running.levers().supersede(),
        }
        let outcome = running.end().await;
        assert_eq!(outcome.end.certainty(), Some(certainty), "{outcome}");
        let took = outcome.ended.since(outcome.started);
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_an_attempt_that_was_superseded() {
    let play = Play::new();
    // 20 ms a call: in the second, which ends before the checkpoint; and in the last, after which it is done.
    for (after, done) in [(30, false), (90, true)] {
        let step = play.driver.step::<HoldCluster>("hold", &play.params);
        let running = step.start(Mode::Run).in_background();
        play.driver
            .clock()
            .sleep(Duration::from_millis(after))
            .await;
        running.levers().supersede();
        let outcome = running.end().await;
        assert_eq!(matches!(outcome.end, End::Done(_)), done, "{outcome}");
        assert_eq!(step.checkpoint().is_some(), done);
        assert_eq!(step.output(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_runs_in_the_background_until_it_is_stopped() {
    let play = Play::new();
    let guard = play.driver.step::<KeepRegistered>("keep", &play.params);
    let guard = guard.start(Mode::Run).in_background();
    play.driver.clock().sleep(Duration::from_secs(1)).await;
    play.world.state().instances.insert("i-9".to_owned());
    play.driver.clock().sleep(Duration::from_secs(30)).await;
    assert!(play.world.state().registered.contains("i-9"));
    let outcome = guard.stop().await;
    assert!(matches!(outcome.end, End::Done(_)), "{outcome}");
    assert!(outcome.leaks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_observation_gets_no_permit() {
    type Acting = Flawed<{ flaws::OBSERVES_ACTING }>;
    let play = Play::of(registry_of(Acting::default()));
    let step = play.driver.step::<Acting>("mark", &play.params);
    step.observe().await;
    assert_eq!(play.world.ledger(), []);
}

#[tokio::test(start_paused = true)]
async fn an_observation_uses_no_attempt_up() {
    let play = Play::new();
    let step = play.driver.step::<HoldCluster>("hold", &play.params);
    let observed = step.observe().await.end;
    assert!(matches!(observed, End::Observed(ObservedJson::NotDone)));
    assert_eq!(step.run().await.attempt, 1);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "toy.hold_cluster/1 as step hold: attempt 1 ended: Refused no-cluster")]
async fn a_step_that_cannot_be_played_says_why() {
    let play = Play::new();
    let params = ClusterParams {
        cluster: "other".to_owned(),
    };
    play.driver.play::<HoldCluster>("hold", &params).await;
}
