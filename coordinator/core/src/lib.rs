//! The pure core: definitions, the workflow state machine, leases, hash chains, views
