//! What systemd does on a node: services that are wanted run.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use tokio::process::Child;

use super::{
    root::path,
    spec::{NodeSpec, RUN},
};
use crate::process::{Spec, terminate};

/// From the begin of a service to its next one. A removed etcd member ends at once each time; real masters, whose units begin
/// anew at once, have cores of their own for that.
const RESTART: Duration = Duration::from_secs(5);

/// The node's services.
pub(crate) struct Units {
    running: BTreeMap<String, Child>,
    begun: BTreeMap<String, Instant>,
}

impl Units {
    /// Makes them known and wanted.
    pub(crate) fn begin(spec: &NodeSpec) -> anyhow::Result<Self> {
        let run = spec.inside(RUN);
        for folder in ["known", "units"] {
            fs::create_dir_all(run.join(folder))?;
            for unit in spec.units.keys() {
                fs::write(run.join(folder).join(unit), "")?;
            }
        }
        Ok(Self {
            running: BTreeMap::new(),
            begun: BTreeMap::new(),
        })
    }

    /// Begins what is wanted and does not run, ends what runs and is not wanted.
    pub(crate) async fn sync(&mut self, spec: &NodeSpec) -> anyhow::Result<()> {
        for (unit, command) in &spec.units {
            let run = spec.inside(RUN);
            let wanted = run.join("units").join(unit).exists();
            let marker = run.join("running").join(unit);
            let ended = match self.running.get_mut(unit) {
                Some(child) => child.try_wait()?.is_some(),
                None => false,
            };
            if ended {
                self.running.remove(unit);
                fs::remove_file(&marker).ok();
            }
            match (wanted, self.running.contains_key(unit)) {
                // A timer, which does nothing here but exist.
                (true, false) if command.is_empty() => fs::write(&marker, "")?,
                (false, _) if command.is_empty() => {
                    fs::remove_file(&marker).ok();
                }
                (true, false) if !self.may_begin(unit) => {}
                (true, false) => {
                    self.begun.insert(unit.clone(), Instant::now());
                    let service = Spec {
                        name: unit.clone(),
                        command: command.clone(),
                        env: vec![("PATH".to_owned(), path(spec))],
                        log: spec.log(unit),
                        root: Some(spec.root()),
                    };
                    self.running.insert(unit.clone(), service.begin()?);
                    fs::write(&marker, "")?;
                }
                (false, true) => {
                    if let Some(mut child) = self.running.remove(unit) {
                        terminate(&mut child).await;
                    }
                    fs::remove_file(&marker).ok();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn may_begin(&self, unit: &str) -> bool {
        self.begun
            .get(unit)
            .is_none_or(|begun| begun.elapsed() >= RESTART)
    }
}
