//! Fuzz targets for everything that is public: each lies in `it/` and runs on stable under `cargo test`. Targets for what
//! is private to a package stand beside it (`coordinator/src/store`, `coordinator/src/rpc`).

pub mod bench;
pub mod play;
