//! SIGKILL of coordinator and worker, where a test wants it. The lab begins them again, as their cluster would.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use drover_proto::v1;
use rustix::process::{Pid, Signal, kill_process};

use crate::story::say;

/// The programs that are killed, by name.
const PROGRAMS: [&str; 2] = ["drover-coordinator", "drover-worker"];

/// When to kill.
enum When {
    /// Whenever a step has succeeded.
    Every,
    /// So long after a step has begun.
    Step(String, Duration),
}

/// What is to be killed, and what has been.
pub(crate) struct Kills {
    wanted: Vec<When>,
    succeeded: BTreeSet<String>,
    began: BTreeMap<String, Instant>,
    done: Vec<String>,
}

impl Kills {
    /// From the words of the command line.
    pub(crate) fn new(words: &[String]) -> anyhow::Result<Self> {
        let wanted = words
            .iter()
            .map(|word| when(word))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            wanted,
            succeeded: BTreeSet::new(),
            began: BTreeMap::new(),
            done: Vec::new(),
        })
    }

    /// Kills when it is time.
    pub(crate) async fn strike(
        &mut self,
        workflow: &v1::Workflow,
        begin: Instant,
    ) -> anyhow::Result<()> {
        let mut boundary = None;
        for step in &workflow.steps {
            if step.attempt > 0 {
                self.began
                    .entry(step.id.clone())
                    .or_insert_with(Instant::now);
            }
            if step.state() == v1::StepState::Succeeded && self.succeeded.insert(step.id.clone()) {
                boundary = Some(step.id.clone());
            }
        }
        let began = &self.began;
        let due = self.wanted.iter().position(|when| match when {
            When::Every => boundary.is_some(),
            When::Step(step, after) => began
                .get(step)
                .is_some_and(|began| began.elapsed() >= *after),
        });
        let Some(n) = due else {
            return Ok(());
        };
        let what = match &self.wanted[n] {
            When::Every => format!("after {}", boundary.unwrap_or_default()),
            When::Step(step, after) => format!("{} s into {step}", after.as_secs()),
        };
        if matches!(self.wanted[n], When::Step(..)) {
            self.wanted.remove(n);
        }
        kill_all()?;
        say(&format!(
            "{:7.1} s  coordinator and worker are killed {what}",
            begin.elapsed().as_secs_f64()
        ));
        self.done.push(what);
        Ok(())
    }

    /// When it was done.
    pub(crate) fn done(self) -> Vec<String> {
        self.done
    }
}

fn when(word: &str) -> anyhow::Result<When> {
    if word == "every" {
        return Ok(When::Every);
    }
    let (step, after) = word.split_once('+').unwrap_or((word, "0"));
    let after = after
        .parse()
        .with_context(|| format!("--kill {word}: use STEP+SECONDS"))?;
    Ok(When::Step(step.to_owned(), Duration::from_secs(after)))
}

fn kill_all() -> anyhow::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else {
            continue;
        };
        let file = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if PROGRAMS.contains(&file.as_str())
            && let Some(pid) = Pid::from_raw(pid)
        {
            kill_process(pid, Signal::KILL)?;
        }
    }
    Ok(())
}
