//! Layered settings of the servers: flags, environment, one YAML file
