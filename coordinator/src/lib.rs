//! The server: operator API, worker sessions, the engine, the store
