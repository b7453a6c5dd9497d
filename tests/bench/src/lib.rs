//! Benchmarks of the real coordinator beside a null engine
