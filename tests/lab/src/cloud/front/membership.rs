//! Who is registered with a classic load balancer: the calls in which moto differs from AWS.
//!
//! moto registers instances that do not exist, registers one twice, answers with an empty list, and fails with 500 where
//! there is no such load balancer.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Refusal;
use crate::cloud::{
    health::State,
    sdk::Clients,
    seen::{self, Instance},
};

/// What a registration comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// Instances that moto does not have yet.
    pub(super) new: BTreeSet<String>,
    /// All that are registered afterwards.
    pub(super) after: BTreeSet<String>,
}

/// Whether instances may be registered: all of them exist and live, or none is registered.
pub(super) fn register(
    asked: &[String],
    registered: &BTreeSet<String>,
    instances: &[Instance],
) -> Result<Registration, Refusal> {
    let lives = |id: &String| {
        let mut same = instances.iter().filter(|instance| instance.id == *id);
        same.any(|instance| instance.state != "terminated")
    };
    let invalid: Vec<String> = asked.iter().filter(|id| !lives(id)).cloned().collect();
    if !invalid.is_empty() {
        return Err(Refusal::invalid_instance(&invalid));
    }
    let asked: BTreeSet<String> = asked.iter().cloned().collect();
    Ok(Registration {
        new: &asked - registered,
        after: &asked | registered,
    })
}

/// What is said of the instances that were asked about; of all when none was named. One that is registered and that the
/// forwarders have not seen yet is still being registered.
pub(super) fn health(
    asked: &[String],
    registered: &BTreeSet<String>,
    followed: &BTreeMap<String, State>,
) -> BTreeMap<String, State> {
    let ids: Vec<&String> = if asked.is_empty() {
        registered.iter().collect()
    } else {
        asked.iter().collect()
    };
    ids.into_iter()
        .map(|id| {
            let state = match followed.get(id) {
                _ if !registered.contains(id) => State::NotRegistered,
                Some(state) => state.clone(),
                None => State::Registering,
            };
            (id.clone(), state)
        })
        .collect()
}

/// Instances registered with a load balancer now; `None` when there is no such load balancer.
pub(super) async fn registered(
    clients: &Clients,
    load_balancer: &str,
) -> anyhow::Result<Option<BTreeSet<String>>> {
    let all = seen::load_balancers(clients).await?;
    let found = all.into_iter().find(|one| one.name == load_balancer);
    Ok(found.map(|found| found.instances))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn instance(id: &str, state: &str) -> Instance {
        Instance {
            id: id.to_owned(),
            private_ip: None,
            private_dns: String::new(),
            state: state.to_owned(),
            zone: String::new(),
            tags: BTreeMap::new(),
        }
    }

    fn try_register(asked: &[&str]) -> Result<Registration, Refusal> {
        let asked: Vec<String> = asked.iter().map(|id| (*id).to_owned()).collect();
        let instances = [instance("i-1", "running"), instance("i-2", "terminated")];
        register(&asked, &ids(&["i-0"]), &instances)
    }

    #[test]
    fn one_bad_instance_fails_the_whole_call() {
        for bad in ["i-2", "i-unknown"] {
            let refusal = Refusal::invalid_instance(&[bad.to_owned()]);
            assert_eq!(try_register(&["i-1", bad]), Err(refusal));
        }
    }

    #[test]
    fn nobody_is_registered_twice() {
        let twice = try_register(&["i-1", "i-1"]).unwrap();
        assert_eq!(twice.new, ids(&["i-1"]));
        assert_eq!(twice.after, ids(&["i-0", "i-1"]));
        let instances = [instance("i-0", "running")];
        let again = register(&["i-0".to_owned()], &ids(&["i-0"]), &instances).unwrap();
        assert_eq!(again.new, ids(&[]));
    }

    #[test]
    fn health_is_the_forwarders_view() {
        let followed = [("i-1", State::InService), ("i-3", State::InService)]
            .map(|(id, state)| (id.to_owned(), state));
        let followed = BTreeMap::from(followed);
        let registered = ids(&["i-1", "i-2"]);
        let check = |asked: &[&str], expected: &[(&str, State)]| {
            let asked: Vec<String> = asked.iter().map(|id| (*id).to_owned()).collect();
            let expected: BTreeMap<String, State> = expected
                .iter()
                .map(|(id, state)| ((*id).to_owned(), state.clone()))
                .collect();
            assert_eq!(health(&asked, &registered, &followed), expected);
        };
        check(
            &[],
            &[("i-1", State::InService), ("i-2", State::Registering)],
        );
        check(&["i-3"], &[("i-3", State::NotRegistered)]);
    }
}
