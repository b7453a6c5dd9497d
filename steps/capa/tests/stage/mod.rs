//! A world with one cluster in it, and a migration of that cluster: what the test binaries of both families have in common.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary needs its own part of it"
)]

mod migration;
pub(crate) mod pools;
mod site;
mod town;

pub(crate) use self::{
    migration::{Migration, care_of, kinds},
    site::Site,
    town::Town,
};
