//! The agent in an installation: dials out, serves step kinds
