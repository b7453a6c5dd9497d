//! STS: whether a role can be assumed.

use aws_sdk_sts::Client;
use drover_ports::{CloudReply, PortError};

use crate::error::{Asked, sort};

/// Name of the session, as CloudTrail shows it.
const SESSION: &str = "drover";

/// Who the role makes us. Its credentials are thrown away.
pub(crate) async fn assume_role(
    client: &Client,
    asked: Asked,
    role_arn: &str,
) -> Result<CloudReply, PortError> {
    let request = client
        .assume_role()
        .role_arn(role_arn)
        .role_session_name(SESSION);
    let answer = request.send().await.map_err(|error| sort(asked, error))?;
    let arn = answer.assumed_role_user().map(|user| user.arn());
    Ok(CloudReply::Identity(arn.unwrap_or_default().to_owned()))
}
