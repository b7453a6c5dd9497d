//! What must be the same after a migration as before: the data in etcd, a token, a Secret, the CA.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenReview, TokenReviewSpec},
    core::v1::{Secret, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{api, place::Parts, place::Place, process::run};

/// Keys that were written before the migration and that nobody writes during it.
const KEYSPACE: &str = "/giantswarm.io/configmaps/default/keyspace-";

/// Taken before; held against what is there afterwards.
pub(crate) struct Before {
    keyspace: String,
    token: String,
    secret: Vec<u8>,
}

/// What held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proofs {
    /// SHA-256 over keys, values and revisions of the keyspace: before and after are equal.
    pub keyspace: String,
    /// A token that a vintage API server issued authenticates.
    pub token_authenticates: bool,
    /// A Secret that was encrypted before is read.
    pub secret_decrypts: bool,
}

/// Takes what is there.
pub(crate) async fn before(place: &Place, parts: &Parts, etcd: &str) -> anyhow::Result<Before> {
    let client = api::client(&place.kubeconfig("workload")).await?;
    let token = token(&client).await?;
    Ok(Before {
        keyspace: keyspace(place, parts, etcd).await?,
        token,
        secret: known(&client).await?,
    })
}

/// A token of the default service account, by whoever issues them now.
pub(crate) async fn token(client: &Client) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let request = accounts
        .create_token_request("default", &PostParams::default(), &TokenRequest::default())
        .await?;
    let status = request
        .status
        .context("a token request without an answer")?;
    Ok(status.token)
}

impl Before {
    /// Holds it against what is there now, through the API of a kubeconfig and the etcd of `etcd`.
    pub(crate) async fn hold(
        &self,
        kubeconfig: &Path,
        place: &Place,
        parts: &Parts,
        etcd: &str,
    ) -> anyhow::Result<Proofs> {
        let client = api::client(kubeconfig).await?;
        let reviews: Api<TokenReview> = Api::all(client.clone());
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(self.token.clone()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let review = reviews.create(&PostParams::default(), &review).await?;
        let token_authenticates =
            review.status.and_then(|status| status.authenticated) == Some(true);
        let secret_decrypts = known(&client).await? == self.secret;
        let keyspace = keyspace(place, parts, etcd).await?;
        ensure!(
            keyspace == self.keyspace,
            "the keyspace that was written before is not the same any more"
        );
        ensure!(
            token_authenticates,
            "a token that was issued before does not authenticate any more"
        );
        ensure!(
            secret_decrypts,
            "a Secret that was encrypted before reads differently"
        );
        Ok(Proofs {
            keyspace,
            token_authenticates,
            secret_decrypts,
        })
    }
}

async fn known(client: &Client) -> anyhow::Result<Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    let secret = secrets.get("known").await?;
    let word = secret.data.and_then(|mut data| data.remove("word"));
    Ok(word.context("the known Secret has no word")?.0)
}

/// SHA-256 over keys, values and revisions, hex.
async fn keyspace(place: &Place, parts: &Parts, etcd: &str) -> anyhow::Result<String> {
    let text = etcdctl(place, parts, etcd, &["get", "--prefix", KEYSPACE]).await?;
    let answer: Value = serde_json::from_str(&text)?;
    let pairs = answer["kvs"].as_array().context("the keyspace is empty")?;
    let mut digest = Sha256::new();
    for pair in pairs {
        for field in ["key", "value", "create_revision", "mod_revision", "version"] {
            digest.update(pair[field].to_string());
        }
    }
    Ok(hex::encode(digest.finalize()))
}

/// etcdctl with the lab's own client certificate; answers JSON.
pub(crate) async fn etcdctl(
    place: &Place,
    parts: &Parts,
    etcd: &str,
    words: &[&str],
) -> anyhow::Result<String> {
    let text = |path: &Path| path.display().to_string();
    let folder = place.path("secrets");
    let program = text(&parts.program("etcdctl"));
    let flags = [
        format!("--endpoints=https://{etcd}:2379"),
        format!("--cacert={}", text(&folder.join("workload-ca.crt"))),
        format!("--cert={}", text(&folder.join("etcd-client.crt"))),
        format!("--key={}", text(&folder.join("etcd-client.key"))),
        "--write-out=json".to_owned(),
    ];
    let args: Vec<&str> = flags
        .iter()
        .map(String::as_str)
        .chain(words.iter().copied())
        .collect();
    let answer = tokio::time::timeout(Duration::from_secs(20), run(&program, &args));
    answer.await.context("etcdctl does not come to an end")?
}

/// Names of etcd's members, in order.
pub(crate) async fn members(
    place: &Place,
    parts: &Parts,
    etcd: &str,
) -> anyhow::Result<Vec<String>> {
    let answer: Value =
        serde_json::from_str(&etcdctl(place, parts, etcd, &["member", "list"]).await?)?;
    let members = answer["members"].as_array().context("no members")?;
    let mut names: Vec<String> = members
        .iter()
        .map(|member| member["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// The CA that a kubeconfig trusts, and its client certificate and key, PEM.
pub(crate) fn identity(kubeconfig: &Path) -> anyhow::Result<[String; 3]> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let value: Value = serde_saphyr::from_str(&text)?;
    let decode = |value: &Value| -> anyhow::Result<String> {
        let text = value
            .as_str()
            .context("a kubeconfig without embedded certificates")?;
        Ok(String::from_utf8(STANDARD.decode(text)?)?)
    };
    let user = &value["users"][0]["user"];
    Ok([
        decode(&value["clusters"][0]["cluster"]["certificate-authority-data"])?,
        decode(&user["client-certificate-data"])?,
        decode(&user["client-key-data"])?,
    ])
}
