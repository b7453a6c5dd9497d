//! Jobs that act on one node's host: the only way in which this migration touches vintage masters.
//!
//! The form is fixed here, because two sides depend on it: steps render it, and the simulated world carries out exactly
//! what has this form and fails everything else. A Job of this form
//!
//! * lies in `kube-system`, is pinned by `spec.template.spec.nodeName`, tolerates everything, never restarts, and is
//!   cleaned up by the cluster itself [`CLEANED_UP_AFTER_SECONDS`] after it has finished;
//! * mounts the host's root (`hostPath: /`) at `/host` and runs one shell there: `chroot /host /bin/sh -ec SCRIPT`;
//! * whose script has one command a line, each of which is safe to repeat.

use serde_json::{Value, json};

use crate::Partition;

/// Where kubelet looks for static pods.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where a manifest is kept while its pod must not run.
pub const PARKED: &str = "/etc/kubernetes/drover-parked";

/// Namespace of these Jobs.
pub const NAMESPACE: &str = "kube-system";

/// Finished Jobs go this long after, so that nobody has to delete them and a request that arrives late finds its Job.
pub const CLEANED_UP_AFTER_SECONDS: u64 = 1800;

/// An image with a shell and `chroot`, from the partition's own registry.
pub fn image(partition: Partition) -> String {
    format!("{}/alpine:3.20.3", crate::target::registry(partition))
}

/// One line of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCommand {
    /// Moves a static pod's manifest away; one that is not there counts as moved.
    Park {
        /// File name, for example `k8s-api-server.yaml`.
        manifest: String,
    },
    /// Moves it back; one that is not parked counts as moved back.
    Unpark {
        /// File name.
        manifest: String,
    },
    /// Stops a systemd unit and fails when it still runs; a unit that does not exist counts as stopped.
    StopUnit {
        /// For example `etcd3.service`.
        unit: String,
    },
    /// Starts a systemd unit.
    StartUnit {
        /// For example `etcd3.service`.
        unit: String,
    },
}

impl NodeCommand {
    fn line(&self) -> String {
        match self {
            Self::Park { manifest } => move_line(MANIFESTS, PARKED, manifest),
            Self::Unpark { manifest } => move_line(PARKED, MANIFESTS, manifest),
            Self::StopUnit { unit } => format!(
                "systemctl stop {unit} || [ $? -eq 5 ]; ! systemctl is-active --quiet {unit}"
            ),
            Self::StartUnit { unit } => format!("systemctl start {unit}"),
        }
    }

    /// The command whose line this is. Goes through [`NodeCommand::line`], so that the form stands in one place.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let argument = match *words.first()? {
            "[" => (*words.get(3)?)
                .rsplit_once('/')
                .map(|(_, file)| file.to_owned())?,
            "systemctl" => (*words.get(2)?).to_owned(),
            _ => return None,
        };
        let (manifest, unit) = (argument.clone(), argument);
        [
            Self::Park {
                manifest: manifest.clone(),
            },
            Self::Unpark { manifest },
            Self::StopUnit { unit: unit.clone() },
            Self::StartUnit { unit },
        ]
        .into_iter()
        .find(|command| command.line() == line)
    }
}

fn move_line(from: &str, to: &str, file: &str) -> String {
    format!("[ ! -e {from}/{file} ] || mv {from}/{file} {to}/{file}")
}

/// One such Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeJob {
    /// Name of the Job.
    pub name: String,
    /// Name of the node.
    pub node: String,
    /// Any image with `chroot` in it, from the partition's own registry.
    pub image: String,
    /// What to do, in order.
    pub commands: Vec<NodeCommand>,
}

const FIRST_LINE: &str = "mkdir -p /etc/kubernetes/drover-parked";

impl NodeJob {
    /// As a `batch/v1` Job.
    pub fn render(&self) -> Value {
        let script = [FIRST_LINE.to_owned()]
            .into_iter()
            .chain(self.commands.iter().map(NodeCommand::line))
            .collect::<Vec<_>>()
            .join("\n");
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/managed-by": "drover"},
            },
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": CLEANED_UP_AFTER_SECONDS,
                "template": {
                    "metadata": {"labels": {"app.kubernetes.io/managed-by": "drover"}},
                    "spec": {
                        "nodeName": self.node,
                        "hostPID": true,
                        "restartPolicy": "Never",
                        "tolerations": [{"operator": "Exists"}],
                        "containers": [{
                            "name": "host",
                            "image": self.image,
                            "command": ["chroot", "/host", "/bin/sh", "-ec", script],
                            "securityContext": {"privileged": true},
                            "volumeMounts": [{"name": "host", "mountPath": "/host"}],
                        }],
                        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
                    },
                },
            },
        })
    }

    /// The Job that an object is, if it has exactly this form.
    pub fn parse(object: &Value) -> Option<Self> {
        let metadata = &object["metadata"];
        let pod = &object["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let script = container["command"][4].as_str()?;
        let mut lines = script.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let job = Self {
            name: metadata["name"].as_str()?.to_owned(),
            node: pod["nodeName"].as_str()?.to_owned(),
            image: container["image"].as_str()?.to_owned(),
            commands: lines.map(NodeCommand::parse).collect::<Option<_>>()?,
        };
        let form = job.render();
        let same = form["spec"]["template"]["spec"] == *pod
            && form["metadata"]["namespace"] == metadata["namespace"]
            && object["kind"] == "Job";
        same.then_some(job)
    }

    /// True once a Job object says that it has succeeded.
    pub fn has_succeeded(object: &Value) -> bool {
        object["status"]["succeeded"].as_u64().unwrap_or(0) > 0
    }

    /// True once a Job object says that it has failed.
    pub fn has_failed(object: &Value) -> bool {
        object["status"]["failed"].as_u64().unwrap_or(0) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> NodeJob {
        NodeJob {
            name: "drover-stop-etcd".into(),
            node: "ip-10-0-0-1.eu-central-1.compute.internal".into(),
            image: "registry.example/tools:1".into(),
            commands: vec![
                NodeCommand::Park {
                    manifest: "k8s-api-server.yaml".into(),
                },
                NodeCommand::Unpark {
                    manifest: "k8s-scheduler.yaml".into(),
                },
                NodeCommand::StopUnit {
                    unit: "etcd3.service".into(),
                },
                NodeCommand::StartUnit {
                    unit: "k8s-label-node.timer".into(),
                },
            ],
        }
    }

    #[test]
    fn what_is_rendered_is_parsed_back() {
        assert_eq!(NodeJob::parse(&job().render()), Some(job()));
    }

    #[test]
    fn a_job_of_another_form_is_not_parsed() {
        let script = "/spec/template/spec/containers/0/command/4";
        let changes = [
            ("/spec/template/spec/volumes/0/hostPath/path", json!("/etc")),
            ("/spec/template/spec/tolerations", json!([])),
            ("/metadata/namespace", json!("default")),
            (script, json!("rm -rf /")),
            (script, json!(format!("{FIRST_LINE}\nrm -rf /"))),
        ];
        for (pointer, value) in changes {
            let mut object = job().render();
            *object.pointer_mut(pointer).unwrap() = value;
            assert_eq!(NodeJob::parse(&object), None, "{pointer}");
        }
    }
}
