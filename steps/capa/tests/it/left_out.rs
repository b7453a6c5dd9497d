//! x
use std::time::Duration;
use drover_sim::*;
use crate::{customer::Customer, migration::Migration, town::Town};

#[tokio::test(start_paused = true)]
async fn explore() {
    let mut reference = Migration::of(Town::three_masters());
    reference.play().await;
    for id in reference.ids().into_iter().chain(["keep-api-elb".to_owned()]) {
        let town = Town::three_masters();
        let _c = Customer::of(&town).await;
        let mut m = Migration::without(town, &[Box::leak(id.clone().into_boxed_str())]);
        if reference.has_output(&id) { m.pretend(&id, reference.output(&id).clone()); }
        let last = m.ids().pop().unwrap();
        let t = std::time::Instant::now();
        let r = m.try_until(&last).await;
        println!("=== without {id}  {:?}", t.elapsed());
        if let Err((id, what)) = r { println!("stops at {id}: {what}"); }
        m.wait(Duration::from_secs(3600)).await;
        let r = m.town.report();
        println!("{:?} gaps {:?}\naccidents {:?} viol {:?}\n{:?}\n{:?} {:?}", r.state, r.gaps, r.accidents, m.violations, r.load_balancers, r.etcd, r.control_plane);
    }
}
