//! Letting go of stacks.

use drover_model::stack_template::{resources, retain_all};

const YAML: &str = "AWSTemplateFormatVersion: 2010-09-09
Resources:
  # The network.
  VPC:
    Type: AWS::EC2::VPC
    DeletionPolicy: Delete
    Properties:
      CidrBlock: !Ref Range
  Masters:
    Type: \"AWS::AutoScaling::AutoScalingGroup\"
    Properties:
      UserData: |
        DeletionPolicy: not ours
Outputs:
  VPCID:
    Value: !Ref VPC
";

#[test]
fn every_resource_stays_and_something_else_changes_too() {
    let retained = retain_all(YAML).unwrap();
    let found = resources(&retained).unwrap();
    let kept: Vec<_> = found
        .iter()
        .map(|resource| {
            (
                resource.id.as_str(),
                resource.type_.as_str(),
                resource.retained,
            )
        })
        .collect();
    assert_eq!(
        kept,
        [
            ("VPC", "AWS::EC2::VPC", true),
            ("Masters", "AWS::AutoScaling::AutoScalingGroup", true),
            (
                "DroverRetainsAll",
                "AWS::CloudFormation::WaitConditionHandle",
                true
            ),
        ]
    );
    assert_eq!(retained.matches("DeletionPolicy: Delete").count(), 0);
    for kept in [
        "!Ref Range",
        "DeletionPolicy: not ours",
        "Value: !Ref VPC",
        "# The network.",
    ] {
        assert!(retained.contains(kept), "{kept}: {retained}");
    }
    assert_eq!(retain_all(&retained).unwrap(), retained);
}

#[test]
fn json_is_a_template_too() {
    let json = r#"{"Resources": {"VPC": {"Type": "AWS::EC2::VPC"}}}"#;
    assert!(!resources(json).unwrap()[0].retained);
    let retained = retain_all(json).unwrap();
    let found = resources(&retained).unwrap();
    assert!(found.len() == 2 && found.iter().all(|resource| resource.retained));
    assert_eq!(retain_all(&retained).unwrap(), retained);
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (template, why) in [
        ("Outputs: {}\n", "no resources"),
        ("Resources:\nOutputs: {}\n", "no resources"),
        (
            "Resources:\n  VPC: {Type: AWS::EC2::VPC}\n",
            "not in block style",
        ),
        ("{\"Resources\": ", "no JSON"),
    ] {
        let error = retain_all(template).unwrap_err().to_string();
        assert!(error.contains(why), "{template}: {error}");
    }
}
