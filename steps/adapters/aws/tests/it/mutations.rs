//! Mutations: what is ignored, what is refused, and what is never asked.

use drover_ports::{CloudCall, CloudReply, PortErrorKind, Tags};

use crate::far::{ec2_error, far, query_error};

const LOAD_BALANCER: &str = "c0001-api";

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn an_unknown_instance_keeps_all_of_them_off_the_load_balancer() {
    let (far, aws) = far(|_| query_error(400, "InvalidInstance", "Could not find i-9")).await;
    let call = CloudCall::RegisterInstancesWithLoadBalancer {
        load_balancer: LOAD_BALANCER.to_owned(),
        instances: ids(&["i-1", "i-9"]),
    };
    let error = aws.call("c0001", call).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert_eq!(error.code, "InvalidInstance");
    assert_eq!(
        far.requests(),
        [
            "Action=RegisterInstancesWithLoadBalancer&LoadBalancerName=c0001-api\
             &Instances.member.1.InstanceId=i-1&Instances.member.2.InstanceId=i-9"
        ]
    );
}

#[tokio::test]
async fn taking_unknown_instances_off_takes_the_others_off() {
    let (far, aws) = far(|request| {
        if request.contains("i-9") {
            query_error(400, "InvalidInstance", "Could not find i-9")
        } else {
            let body = "<DeregisterInstancesFromLoadBalancerResponse>\
                <DeregisterInstancesFromLoadBalancerResult/></DeregisterInstancesFromLoadBalancerResponse>";
            (200, body.to_owned())
        }
    })
    .await;
    let call = CloudCall::DeregisterInstancesFromLoadBalancer {
        load_balancer: LOAD_BALANCER.to_owned(),
        instances: ids(&["i-1", "i-9"]),
    };
    assert_eq!(aws.call("c0001", call).await.unwrap(), CloudReply::Done);
    let requests = far.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].ends_with("=i-1") && requests[2].ends_with("=i-9"));
}

#[tokio::test]
async fn what_is_gone_is_success_for_those_who_wanted_it_gone() {
    let (_far, aws) = far(|request| {
        if request.contains("TerminateInstances") {
            ec2_error(400, "InvalidInstanceID.NotFound")
        } else {
            query_error(400, "LoadBalancerNotFound", "there is none")
        }
    })
    .await;
    let calls = [
        CloudCall::TerminateInstances {
            instances: ids(&["i-1"]),
        },
        CloudCall::DeleteLoadBalancer {
            load_balancer: LOAD_BALANCER.to_owned(),
        },
    ];
    for call in calls {
        assert_eq!(aws.call("c0001", call).await.unwrap(), CloudReply::Done);
    }
}

#[tokio::test]
async fn a_security_group_in_use_is_a_conflict() {
    let (_far, aws) = far(|_| ec2_error(400, "DependencyViolation")).await;
    let id = "sg-1".to_owned();
    let call = CloudCall::DeleteSecurityGroup { id };
    let error = aws.call("c0001", call).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Conflict);
    assert_eq!(error.code, "DependencyViolation");
}

#[tokio::test]
async fn a_group_that_does_not_exist_is_not_found() {
    let (_far, aws) = far(|_| {
        let message = "AutoScalingGroup name not found - masters";
        query_error(400, "ValidationError", message)
    })
    .await;
    let call = CloudCall::SuspendProcesses {
        group: "masters".to_owned(),
        processes: ids(&["Terminate"]),
    };
    let error = aws.call("c0001", call).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
}

#[tokio::test]
async fn a_tag_is_deleted_whatever_its_value_is() {
    let (far, aws) = far(|_| {
        let body = "<DeleteTagsResponse><return>true</return></DeleteTagsResponse>";
        (200, body.to_owned())
    })
    .await;
    let call = CloudCall::DeleteTags {
        resources: ids(&["i-1"]),
        keys: ids(&["a"]),
    };
    assert_eq!(aws.call("c0001", call).await.unwrap(), CloudReply::Done);
    assert_eq!(
        far.requests(),
        ["Action=DeleteTags&ResourceId.1=i-1&Tag.1.Key=a"]
    );
}

/// AWS takes an empty list for everything: all tags, all processes.
#[tokio::test]
async fn nothing_is_not_everything() {
    let (far, aws) = far(|_| ec2_error(400, "MissingParameter")).await;
    let group = "masters".to_owned();
    let load_balancer = LOAD_BALANCER.to_owned();
    let calls = [
        CloudCall::DeleteTags {
            resources: ids(&["i-1"]),
            keys: Vec::new(),
        },
        CloudCall::CreateTags {
            resources: ids(&["i-1"]),
            tags: Tags::new(),
        },
        CloudCall::ResumeProcesses {
            group: group.clone(),
            processes: Vec::new(),
        },
        CloudCall::SuspendProcesses {
            group,
            processes: Vec::new(),
        },
        CloudCall::TerminateInstances {
            instances: Vec::new(),
        },
        CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer,
            instances: Vec::new(),
        },
    ];
    for call in calls {
        let reply = aws.call("c0001", call.clone()).await;
        assert_eq!(reply, Ok(CloudReply::Done), "{call:?}");
    }
    assert!(far.requests().is_empty());
}

#[tokio::test]
async fn an_instance_of_a_group_ends_and_the_group_wants_one_less() {
    let (far, aws) = far(|_| {
        let body = "<TerminateInstanceInAutoScalingGroupResponse>\
            <TerminateInstanceInAutoScalingGroupResult/></TerminateInstanceInAutoScalingGroupResponse>";
        (200, body.to_owned())
    })
    .await;
    let call = CloudCall::TerminateInstanceInAutoScalingGroup {
        instance: "i-1".to_owned(),
        decrement: true,
    };
    assert_eq!(aws.call("c0001", call).await.unwrap(), CloudReply::Done);
    let requests = far.requests();
    assert!(requests[0].contains("InstanceId=i-1"), "{requests:?}");
    assert!(requests[0].contains("ShouldDecrementDesiredCapacity=true"));
}

#[tokio::test]
async fn an_instance_that_is_in_no_group_is_not_found() {
    let (_far, aws) = far(|_| {
        let why = "Instance Id not found - No managed instance found for instance ID: i-9";
        query_error(400, "ValidationError", why)
    })
    .await;
    let call = CloudCall::TerminateInstanceInAutoScalingGroup {
        instance: "i-9".to_owned(),
        decrement: true,
    };
    let error = aws.call("c0001", call).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
}
