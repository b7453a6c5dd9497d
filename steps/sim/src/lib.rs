//! The simulated world
