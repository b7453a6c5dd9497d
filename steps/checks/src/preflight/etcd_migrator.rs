//! `etcd-cluster-migrator` is not at work: it takes one member and three masters for its own unfinished work. The migration
//! removes its Chart and its Job; one that is there now has not ended as it should.

use drover_ports::ObjectRef;

use super::{Findings, Look, warning};
use crate::kinds;

const NAME: &str = "etcd-cluster-migrator";

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let job = ObjectRef::new(&kinds::job(), "kube-system", NAME);
    if look.workload().find(&job).await?.is_none() {
        return Ok(Vec::new());
    }
    Ok(vec![warning(
        "etcd-migrator-there",
        format!("Job kube-system/{NAME} exists; the migration removes it before it touches etcd"),
    )])
}
