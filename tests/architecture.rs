//! The package arrows.
