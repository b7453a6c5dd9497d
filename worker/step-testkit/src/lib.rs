//! Conformance of step kinds: every kind, every fault point, by intercepting the door
