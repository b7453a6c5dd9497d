//! What the world does to a migration that leaves something out.
