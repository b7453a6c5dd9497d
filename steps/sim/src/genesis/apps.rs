//! What customers run: Deployments, a StatefulSet with volumes, their budgets and Services; and a DaemonSet on every node.

use drover_step_api::Timestamp;
use serde_json::json;

use crate::{
    rules::apps,
    state::{App, Cluster, VINTAGE_REALM},
};

/// On workers: a front end, and a store whose volumes are each in one zone. On control-plane nodes: a webhook.
const APPS: [App; 3] = [
    App {
        namespace: "shop",
        name: "web",
        replicas: 3,
        stateful: false,
        on_control_plane: false,
    },
    App {
        namespace: "shop",
        name: "store",
        replicas: 2,
        stateful: true,
        on_control_plane: false,
    },
    App {
        namespace: "platform",
        name: "policy-webhook",
        replicas: 2,
        stateful: false,
        on_control_plane: true,
    },
];

pub(super) fn fill(cluster: &mut Cluster, start: Timestamp) {
    for app in APPS {
        objects(cluster, &app, start);
        cluster.apps.all.push(app);
    }
    apps::begin(cluster, start);
}

fn objects(cluster: &mut Cluster, app: &App, start: Timestamp) {
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return;
    };
    let App {
        namespace, name, ..
    } = app;
    let metadata = json!({"name": name, "namespace": namespace});
    let selector = json!({"matchLabels": {"app": name}});
    let kind = apps::kind_of(app);
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": metadata,
            "spec": {"replicas": app.replicas, "selector": selector},
            "status": {"replicas": app.replicas, "readyReplicas": app.replicas},
        }),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
            "spec": {"maxUnavailable": 1, "selector": selector},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": name}},
        }),
    ] {
        realm.put(object, start);
    }
}
