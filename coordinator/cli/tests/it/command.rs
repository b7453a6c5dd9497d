//! Runs the command.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use system_tests::{client::Client, coordinator::Coordinator, toy::World, worker::ToyWorker};

/// What a run printed and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Asserts the exit code, and gives what was printed.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Everything that was printed.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs it without any coordinator.
pub(crate) fn drover(args: &[&str]) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_drover")).args(args))
}

fn run(command: &mut Command) -> Run {
    let output = command
        .env_remove("DROVER_ADDRESS")
        .env("DROVER_CONFIG_FILE", "/nowhere")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A coordinator with one worker that serves toy kinds.
pub(crate) struct Stage {
    pub(crate) coordinator: Coordinator,
    pub(crate) _worker: ToyWorker,
    pub(crate) world: World,
    pub(crate) client: Client,
    pub(crate) folder: tempfile::TempDir,
}

/// A migration in small: a step that can be held still, a gate, the pivot.
pub(crate) const TOY: &str = "
apiVersion: drover/v1
kind: WorkflowDefinition
metadata: { name: toy, version: 1 }
spec:
  input:
    type: object
    additionalProperties: false
    properties:
      cluster: { type: string }
  placement: { installation: golem }
  exclusive: \"golem/${input.cluster}\"
  pivot: c
  steps:
    - { id: a, uses: toy.block/1 }
    - { id: ask, needs: [a], gate: { approvers: [operator], expires: PT1H } }
    - { id: c, uses: toy.make/1, needs: [ask] }
";

impl Stage {
    pub(crate) async fn set() -> Self {
        let coordinator = Coordinator::start().await;
        let world = World::default();
        let worker = ToyWorker::start("w1", coordinator.address, &world).await;
        let mut client = coordinator.client().await;
        client.workers(1).await;
        let stage = Self {
            coordinator,
            _worker: worker,
            world,
            client,
            folder: tempfile::tempdir().unwrap(),
        };
        let file = stage.file("toy.yaml", TOY);
        stage.drover(&["definition", "register", &file]).exits(0);
        stage
    }

    /// Runs the command against the coordinator.
    pub(crate) fn drover(&self, args: &[&str]) -> Run {
        let address = self.coordinator.address.to_string();
        run(Command::new(env!("CARGO_BIN_EXE_drover"))
            .args(["--address", &address])
            .args(args))
    }

    /// Starts a workflow on a cluster of the same name.
    pub(crate) fn start(&self, id: &str) -> Run {
        let cluster = format!("cluster={id}");
        self.drover(&["workflow", "start", "toy", "--id", id, "--set", &cluster])
    }

    /// A file of the test's folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        file(self.folder.path(), name, text)
    }
}

/// Writes a file and gives its path.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
