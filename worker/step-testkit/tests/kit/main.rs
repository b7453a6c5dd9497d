//! The kit on a toy world: kinds that are right pass, and every way of being wrong is caught by the round meant for it.

mod conforming;
mod coverage;
mod driving;
mod flawed;
mod good;
mod guards;
mod planted;
mod shapes;
mod world;
