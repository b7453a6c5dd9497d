//! A prepared world, and one that is kept to make more of.

use serde_json::Value;

use crate::{
    driver::Driver,
    fixture::{Fixture, Thaw},
    stage::Stage,
};

/// A prepared world, and the params that go with it.
pub(crate) struct Set<W> {
    pub(crate) stage: Stage<W>,
    pub(crate) params: Value,
}

/// The same, kept to make more of.
pub(super) struct Origin<W> {
    thaw: Thaw<W>,
    driver: Driver,
    params: Value,
}

impl<W: Fixture> Origin<W> {
    pub(super) fn new(thaw: Thaw<W>, set: Set<W>) -> Self {
        Self {
            thaw,
            driver: set.stage.driver().clone(),
            params: set.params,
        }
    }

    pub(super) fn thawed(&self) -> Set<W> {
        let world = (self.thaw)();
        let driver = self.driver.moved_to(world.door(), world.clock());
        Set {
            stage: Stage::new(world, driver),
            params: self.params.clone(),
        }
    }
}
