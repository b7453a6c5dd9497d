//! What both servers need to be well-behaved processes: [layered settings](settings), [signals], a [log].

pub mod log;
pub mod settings;
pub mod signals;
