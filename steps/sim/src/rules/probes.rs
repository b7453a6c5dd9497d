//! What customers see, looked at after every change: nothing is sampled, so no gap is too short to be seen.

use std::time::Duration;

use drover_step_api::Timestamp;

use super::{api, apps, cni};
use crate::state::{Cluster, Gap, ProbeName, Status};

/// How long a request waits for an etcd without quorum or leader before its client calls that a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks through every way. Not a rule: it changes nothing that another rule reads.
pub(super) fn look(cluster: &mut Cluster, now: Timestamp) {
    for probe in ProbeName::ALL {
        let status = match probe {
            ProbeName::OldName => api::through_believed_old_name(cluster, now),
            ProbeName::NewName => api::through_new_name(cluster),
            ProbeName::InCluster => api::in_cluster(cluster),
            ProbeName::Services => apps::services(cluster),
            ProbeName::Pods => cni::between_pods(cluster),
        };
        record(cluster, probe, status, now);
    }
}

fn record(cluster: &mut Cluster, probe: ProbeName, status: Status, now: Timestamp) {
    let stalled = matches!(status, Status::Stalled(_));
    let out_of_patience = cluster
        .timers
        .hold("probe-patience", probe.word(), stalled, now, || PATIENCE);
    let probes = &mut cluster.probes;
    let (why, at_once) = match status {
        Status::Ok | Status::Absent => {
            let since = probes.bad_since.remove(&probe);
            if let Some(gap) = probes.open(probe) {
                gap.until = Some(now);
            } else if let Some(since) = since {
                let longest = probes.longest_wait.entry(probe).or_default();
                *longest = now.since(since).max(*longest);
            }
            return;
        }
        Status::Stalled(why) => (why, false),
        Status::Down(why) => (why, true),
    };
    let from = *probes.bad_since.entry(probe).or_insert(now);
    if (at_once || out_of_patience) && probes.open(probe).is_none() {
        open(cluster, probe, from, why);
    }
}

fn open(cluster: &mut Cluster, probe: ProbeName, from: Timestamp, cause: String) {
    cluster.probes.gaps.push(Gap {
        probe,
        from,
        until: None,
        cause,
    });
}
