//! The door and clock in memory.

use std::time::Duration;

use drover_model::VintageCluster;
use drover_ports::{Call, Caller, CloudCall, Door as _};
use drover_sim::{Genesis, LocalWorld, World, WorldConfig, sample_crs};
use drover_step_api::{Clock as _, Fence, Stamp};

use crate::stage::KEYS;

fn local() -> LocalWorld {
    let clusters = VintageCluster::read(&[("sample", sample_crs())]).unwrap();
    let genesis = Genesis::with_keys(WorldConfig::default(), &clusters, &KEYS).unwrap();
    LocalWorld::new(World::from_genesis(&genesis).unwrap())
}

async fn tag(world: &LocalWorld, key: &str) {
    let caller = Caller {
        installation: "golem".into(),
        ..Caller::default()
    };
    let vpc = "vpc-0c4d7a91be35f2086".to_owned();
    let call = Call::Cloud {
        cluster: "k7m2q".into(),
        call: CloudCall::CreateTags {
            resources: vec![vpc],
            tags: [(key.to_owned(), "1".to_owned())].into(),
        },
    };
    let stamp = Stamp {
        workflow: "m1".into(),
        step: "s".into(),
        attempt: 1,
        fence: Fence {
            epoch: 1,
            counter: 1,
        },
        effect: "tag".into(),
        idempotency_key: key.into(),
        compensating: false,
    };
    world.door().pass(&caller, call, Some(stamp)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_domain_time_and_happens_within_it() {
    let world = local();
    let begin = world.clock().now();
    tag(&world, "a").await;
    let took = world.clock().now().since(begin);
    assert!((200..=900).contains(&took.as_millis()), "{took:?}");
    let at = world.now().ledger(0).next().unwrap().at;
    assert!(at > begin && at < world.clock().now());
}

#[tokio::test(start_paused = true)]
async fn dropped_before_its_effect_a_call_never_happened_and_after_it_only_the_reply_is_lost() {
    let world = local();
    for (patience, happened) in [
        (Duration::from_millis(40), 0),
        (Duration::from_millis(199), 1),
    ] {
        // The second call waits until the first part is over and is dropped in the other.
        let result = if happened == 0 {
            tokio::time::timeout(patience, tag(&world, "a")).await
        } else {
            let seen = async {
                while world.now().ledger(0).next().is_none() {
                    world.clock().sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                biased;
                () = seen => tokio::time::timeout(Duration::ZERO, std::future::pending()).await,
                () = tag(&world, "b") => Ok(()),
            }
        };
        assert!(result.is_err());
        world.clock().sleep(Duration::from_secs(60)).await;
        assert_eq!(world.now().ledger(0).count(), happened);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fork_goes_its_own_way_from_the_same_moment() {
    let world = local();
    world.clock().sleep(Duration::from_secs(3600)).await;
    let fork = world.fork();
    assert_eq!(fork.clock().now(), world.clock().now());
    tag(&fork, "a").await;
    assert_eq!(world.now().ledger(0).count(), 0);
    assert_eq!(fork.now().ledger(0).count(), 1);
}
