//! One round's world with a driver in it.

use std::cell::{Cell, RefCell};

use drover_ports::Ports;
use drover_step_api::Step;

use crate::{background::Background, driver::Driver, fixture::Fixture, outcome::Mode};

/// One round's world with a driver in it: what a scenario prepares.
pub struct Stage<W> {
    world: W,
    driver: Driver,
    /// Steps played so far: each has an id, and so idempotency keys, of its own.
    played: Cell<u32>,
    /// Guards that accompany the round; they die with it.
    background: RefCell<Vec<Background>>,
}

impl<W: Fixture> Stage<W> {
    pub(crate) fn new(world: W, driver: Driver) -> Self {
        Self {
            world,
            driver,
            played: Cell::default(),
            background: RefCell::default(),
        }
    }

    /// The world.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// Runs attempts in it.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Runs an earlier kind of the migration, as a step of its own, and returns its output.
    ///
    /// # Panics
    /// As [`Driver::play`].
    pub async fn play<S: Step<Ports>>(&self, params: &S::Params) -> S::Output {
        self.driver.play::<S>(&self.next_id::<S>(), params).await
    }

    /// Starts a guard that runs beside the round, as a step of its own. A world with a guard in it cannot be frozen:
    /// every round is prepared anew.
    ///
    /// # Panics
    /// As [`Driver::step`].
    pub fn guard<S: Step<Ports>>(&self, params: &S::Params) {
        let step = self.driver.step::<S>(&self.next_id::<S>(), params);
        let guard = step.start(Mode::Run).in_background();
        self.background.borrow_mut().push(guard);
    }

    fn next_id<S: Step<Ports>>(&self) -> String {
        self.played.set(self.played.get() + 1);
        format!("{}-{}", S::DECLARATION.name, self.played.get())
    }

    pub(crate) fn has_guards(&self) -> bool {
        !self.background.borrow().is_empty()
    }
}
