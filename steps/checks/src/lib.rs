//! Step kinds that only look: preflight checks and proofs
