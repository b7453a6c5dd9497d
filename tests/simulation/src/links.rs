//! The network between each host and the coordinator. Faults may overlap; what counts is what is left of them.

use std::{collections::BTreeMap, time::Duration};

use turmoil::Sim;

use crate::{
    history::{Recorder, What},
    net::COORDINATOR,
};

/// A message takes at most so long when nothing is wrong.
pub(crate) const USUAL_LATENCY: Duration = Duration::from_millis(100);

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Nothing passes.
    Cut,
    /// Nothing that the host says arrives.
    Deaf,
    /// Nothing that the host is told arrives.
    Mute,
    /// Messages wait.
    Held,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Fine,
    Cut,
    Deaf,
    Mute,
    Held,
}

impl State {
    fn hears_nothing(self) -> bool {
        matches!(self, Self::Cut | Self::Deaf | Self::Held)
    }
}

#[derive(Default)]
struct Link {
    wrong: Vec<Wrong>,
    state: State,
}

impl Link {
    fn wanted(&self) -> State {
        let has = |wrong| self.wrong.contains(&wrong);
        if has(Wrong::Cut) || (has(Wrong::Deaf) && has(Wrong::Mute)) {
            State::Cut
        } else if has(Wrong::Deaf) {
            State::Deaf
        } else if has(Wrong::Mute) {
            State::Mute
        } else if has(Wrong::Held) {
            State::Held
        } else {
            State::Fine
        }
    }
}

/// All links.
pub(crate) struct Links {
    links: BTreeMap<String, Link>,
    recorder: Recorder,
}

impl Links {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self {
            links: BTreeMap::new(),
            recorder,
        }
    }

    /// Something goes wrong between a host and the coordinator.
    pub(crate) fn begin(&mut self, sim: &mut Sim<'_>, host: &str, wrong: Wrong) {
        self.change(sim, host, |link| link.wrong.push(wrong));
    }

    /// That is over; other faults of the same link may go on.
    pub(crate) fn end(&mut self, sim: &mut Sim<'_>, host: &str, wrong: Wrong) {
        self.change(sim, host, |link| {
            if let Some(at) = link.wrong.iter().position(|other| *other == wrong) {
                link.wrong.remove(at);
            }
        });
    }

    fn change(&mut self, sim: &mut Sim<'_>, host: &str, change: impl FnOnce(&mut Link)) {
        let link = self.links.entry(host.to_owned()).or_default();
        change(link);
        let (was, wanted) = (link.state, link.wanted());
        if was == wanted {
            return;
        }
        link.state = wanted;
        if was == State::Held {
            sim.release(host, COORDINATOR);
        }
        sim.repair(host, COORDINATOR);
        match wanted {
            State::Fine => {}
            State::Cut => sim.partition(host, COORDINATOR),
            State::Deaf => sim.partition_oneway(host, COORDINATOR),
            State::Mute => sim.partition_oneway(COORDINATOR, host),
            State::Held => sim.hold(host, COORDINATOR),
        }
        let host = host.to_owned();
        match (was.hears_nothing(), wanted.hears_nothing()) {
            (false, true) => self.recorder.note(What::Cut { host }),
            (true, false) => self.recorder.note(What::Healed { host }),
            (false, false) | (true, true) => {}
        }
    }
}
