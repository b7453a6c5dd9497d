//! Step kinds of the live migration from vintage AWS clusters to Cluster API
