//! Kinds that copy the cluster's identity.

use drover_step_testkit::Scenario;
use drover_steps_capa::{
    write_ca_secrets::WriteCaSecrets, write_encryption_config::WriteEncryptionConfig,
    write_service_account_keys::WriteServiceAccountKeys,
};

use crate::{scenario, stage::Site};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        scenario::<WriteCaSecrets>("copy-ca"),
        scenario::<WriteServiceAccountKeys>("copy-service-account-keys"),
        scenario::<WriteEncryptionConfig>("copy-encryption-config"),
    ]
}
