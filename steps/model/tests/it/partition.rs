//! Everything that differs between partitions, as files a person can read side by side.

use drover_model::Partition;
use serde_json::json;

use crate::golden;

fn everything(region: &str, account: &str, cloudfront: Option<&str>) -> serde_json::Value {
    let partition = Partition::of_region(region);
    let (id, base, capi) = ("ab1c2", "eu.acme.example", "capi.acme.example");
    json!({
        "partition": partition,
        "role_arn": partition.role_arn(account, "giantswarm-golem-capa-controller"),
        "api_suffix": partition.api_suffix(),
        "ec2_principal": partition.ec2_principal(),
        "elb_principal": partition.elb_principal(region),
        "sts_audience": partition.sts_audience(),
        "flatcar_owner": partition.flatcar_owner(),
        "s3_host": partition.s3_host(region),
        "compute_domain": partition.compute_domain(region),
        "vintage_issuers": partition.vintage_issuers(region, account, id, base, cloudfront),
        "capi_issuer": partition.capi_issuer(region, account, id, capi),
    })
}

#[test]
fn every_partition_derives_its_own_words() {
    let cloudfront = Some("d111111abcdef8.cloudfront.net");
    golden::check(
        "partition-aws",
        &everything("eu-central-1", "111122223333", cloudfront),
    );
    golden::check(
        "partition-aws-cn",
        &everything("cn-north-1", "444455556666", None),
    );
    golden::check(
        "partition-aws-us-gov",
        &everything("us-gov-west-1", "777788889999", None),
    );
}

#[test]
fn an_arn_names_its_partition() {
    let of = |arn| Partition::of_arn(arn);
    assert_eq!(
        of("arn:aws-cn:iam::444455556666:role/x"),
        Some(Partition::AwsCn)
    );
    assert_eq!(of("arn:aws:iam::111122223333:role/x"), Some(Partition::Aws));
    assert_eq!(of("arn:aws-iso:iam::1:role/x"), None);
    assert_eq!(of("nonsense"), None);
}
