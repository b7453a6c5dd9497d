//! The typed custom resources, the cluster plan, the rules of AWS partitions
