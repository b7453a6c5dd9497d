//! Reads: pages, order, and what becomes of AWS's documents.

use drover_ports::{
    Addresses, AutoScalingGroup, CloudCall, CloudReply, Instance, InstanceHealth, LoadBalancer,
    PortErrorKind, Route, RouteTable, Tags,
};

use crate::far::{far, query_error};

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn instance(id: &str, state: &str) -> String {
    format!(
        "<item><instancesSet><item><instanceId>{id}</instanceId>\
         <instanceState><code>16</code><name>{state}</name></instanceState>\
         <privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName>\
         <privateIpAddress>10.0.0.1</privateIpAddress><subnetId>subnet-1</subnetId>\
         <placement><availabilityZone>eu-central-1a</availabilityZone></placement>\
         <groupSet><item><groupId>sg-1</groupId></item></groupSet>\
         <tagSet><item><key>Name</key><value>master</value></item></tagSet>\
         </item></instancesSet></item>"
    )
}

fn instances(items: &str, next: Option<&str>) -> (u16, String) {
    let next = next.map_or_else(String::new, |next| format!("<nextToken>{next}</nextToken>"));
    let body = format!(
        "<DescribeInstancesResponse><reservationSet>{items}</reservationSet>{next}</DescribeInstancesResponse>"
    );
    (200, body)
}

#[tokio::test]
async fn instances_come_from_all_pages_in_order_without_the_terminated() {
    let (far, aws) = far(|request| {
        if request.contains("NextToken=more") {
            instances(&instance("i-1", "pending"), None)
        } else {
            let first = instance("i-2", "running") + &instance("i-0", "terminated");
            instances(&first, Some("more"))
        }
    })
    .await;
    let call = CloudCall::DescribeInstances {
        tags: tags(&[("giantswarm.io/cluster", "c*1")]),
    };
    let CloudReply::Instances(found) = aws.call("c0001", call).await.unwrap() else {
        panic!("another reply");
    };
    let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, ["i-1", "i-2"]);
    let second = Instance {
        id: "i-2".to_owned(),
        state: "running".to_owned(),
        private_dns: "ip-10-0-0-1.ec2.internal".to_owned(),
        private_ip: "10.0.0.1".to_owned(),
        zone: "eu-central-1a".to_owned(),
        subnet: "subnet-1".to_owned(),
        security_groups: vec!["sg-1".to_owned()],
        tags: tags(&[("Name", "master")]),
    };
    assert_eq!(found[1], second);
    let first = &far.requests()[0];
    assert!(
        first.contains("Filter.1.Name=tag%3Agiantswarm.io%2Fcluster")
            && first.contains("Filter.1.Value.1=c%5C%2A1"),
        "{first}"
    );
}

#[tokio::test]
async fn route_tables_tell_their_subnets_and_routes() {
    let (_far, aws) = far(|_| {
        let body = "<DescribeRouteTablesResponse><routeTableSet><item>\
            <routeTableId>rtb-1</routeTableId>\
            <routeSet>\
            <item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId></item>\
            <item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><natGatewayId>nat-1</natGatewayId></item>\
            </routeSet>\
            <associationSet><item><main>false</main><subnetId>subnet-1</subnetId></item></associationSet>\
            </item></routeTableSet></DescribeRouteTablesResponse>";
        (200, body.to_owned())
    })
    .await;
    let call = CloudCall::DescribeRouteTables {
        vpc: "vpc-1".to_owned(),
    };
    let route = |destination: &str, target: &str| Route {
        destination: destination.to_owned(),
        target: target.to_owned(),
    };
    let table = RouteTable {
        id: "rtb-1".to_owned(),
        subnets: vec!["subnet-1".to_owned()],
        main: false,
        routes: vec![route("0.0.0.0/0", "nat-1"), route("10.0.0.0/16", "local")],
        tags: Tags::new(),
    };
    let reply = aws.call("c0001", call).await.unwrap();
    assert_eq!(reply, CloudReply::RouteTables(vec![table]));
}

#[tokio::test]
async fn a_load_balancer_and_what_it_believes() {
    let (_far, aws) = far(|request| {
        let body = if request.contains("Action=DescribeInstanceHealth") {
            "<DescribeInstanceHealthResponse><DescribeInstanceHealthResult><InstanceStates>\
             <member><InstanceId>i-2</InstanceId><State>OutOfService</State><Description>failed</Description></member>\
             <member><InstanceId>i-1</InstanceId><State>InService</State><Description>N/A</Description></member>\
             </InstanceStates></DescribeInstanceHealthResult></DescribeInstanceHealthResponse>"
        } else {
            "<DescribeLoadBalancersResponse><DescribeLoadBalancersResult><LoadBalancerDescriptions><member>\
             <LoadBalancerName>c0001-api</LoadBalancerName><DNSName>c0001.elb.amazonaws.com</DNSName>\
             <Scheme>internet-facing</Scheme>\
             <Instances><member><InstanceId>i-2</InstanceId></member><member><InstanceId>i-1</InstanceId></member></Instances>\
             <AvailabilityZones><member>b</member><member>a</member></AvailabilityZones>\
             <HealthCheck><Target>HTTP:8089/healthz</Target><Interval>5</Interval><Timeout>3</Timeout>\
             <UnhealthyThreshold>2</UnhealthyThreshold><HealthyThreshold>2</HealthyThreshold></HealthCheck>\
             </member></LoadBalancerDescriptions></DescribeLoadBalancersResult></DescribeLoadBalancersResponse>"
        };
        (200, body.to_owned())
    })
    .await;
    let names = vec!["c0001-api".to_owned()];
    let call = CloudCall::DescribeLoadBalancers { names };
    let strings = |texts: [&str; 2]| texts.map(ToOwned::to_owned).to_vec();
    let load_balancer = LoadBalancer {
        name: "c0001-api".to_owned(),
        dns_name: "c0001.elb.amazonaws.com".to_owned(),
        scheme: "internet-facing".to_owned(),
        instances: strings(["i-1", "i-2"]),
        zones: strings(["a", "b"]),
        health_check: "HTTP:8089/healthz".to_owned(),
    };
    let reply = aws.call("c0001", call).await.unwrap();
    assert_eq!(reply, CloudReply::LoadBalancers(vec![load_balancer]));
    let call = CloudCall::DescribeInstanceHealth {
        load_balancer: "c0001-api".to_owned(),
    };
    let health = |instance: &str, state: &str, reason: &str| InstanceHealth {
        instance: instance.to_owned(),
        state: state.to_owned(),
        reason: reason.to_owned(),
    };
    let reply = aws.call("c0001", call).await.unwrap();
    assert_eq!(
        reply,
        CloudReply::Health(vec![
            health("i-1", "InService", ""),
            health("i-2", "OutOfService", "failed")
        ])
    );
}

#[tokio::test]
async fn groups_tell_what_is_suspended() {
    let (_far, aws) = far(|_| {
        let body = "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
            <AutoScalingGroupName>masters</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>3</MaxSize>\
            <DesiredCapacity>2</DesiredCapacity>\
            <Instances><member><InstanceId>i-2</InstanceId></member><member><InstanceId>i-1</InstanceId></member></Instances>\
            <SuspendedProcesses><member><ProcessName>Terminate</ProcessName></member>\
            <member><ProcessName>Launch</ProcessName></member></SuspendedProcesses>\
            <LoadBalancerNames><member>c0001-api</member></LoadBalancerNames>\
            <Tags><member><Key>a</Key><Value>b</Value></member></Tags>\
            </member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>";
        (200, body.to_owned())
    })
    .await;
    let call = CloudCall::DescribeAutoScalingGroups {
        tags: tags(&[("a", "b")]),
    };
    let group = AutoScalingGroup {
        name: "masters".to_owned(),
        desired: 2,
        min: 1,
        max: 3,
        instances: vec!["i-1".to_owned(), "i-2".to_owned()],
        suspended: vec!["Launch".to_owned(), "Terminate".to_owned()],
        load_balancers: vec!["c0001-api".to_owned()],
        tags: tags(&[("a", "b")]),
        ending: Vec::new(),
        waiting: Vec::new(),
    };
    let reply = aws.call("c0001", call).await.unwrap();
    assert_eq!(reply, CloudReply::Groups(vec![group]));
}

#[tokio::test]
async fn no_names_are_not_all_names() {
    let (far, aws) = far(|_| query_error(400, "ValidationError", "never asked")).await;
    let names = Vec::new();
    let reply = aws.call("c0001", CloudCall::DescribeLoadBalancers { names });
    assert_eq!(reply.await.unwrap(), CloudReply::LoadBalancers(Vec::new()));
    let ids = Vec::new();
    let reply = aws.call("c0001", CloudCall::DescribeVpcs { ids });
    assert_eq!(reply.await.unwrap(), CloudReply::Vpcs(Vec::new()));
    assert!(far.requests().is_empty());
}

#[tokio::test]
async fn an_address_is_asked_for_once_and_a_terminated_instance_has_none() {
    let (far, aws) = far(|request| {
        let gone = request.contains("i-gone");
        let (id, state) = if gone {
            ("i-gone", "terminated")
        } else {
            ("i-1", "running")
        };
        instances(&instance(id, state), None)
    })
    .await;
    for _ in 0..2 {
        let address = aws.private_address("c0001", "i-1").await.unwrap();
        assert_eq!(address.to_string(), "10.0.0.1");
    }
    assert_eq!(far.requests().len(), 1);
    let error = aws.private_address("c0001", "i-gone").await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
}

#[tokio::test]
async fn a_role_says_who_it_makes_us() {
    let (_far, aws) = far(|_| {
        let body = "<AssumeRoleResponse><AssumeRoleResult>\
            <AssumedRoleUser><AssumedRoleId>x</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/capa/drover</Arn></AssumedRoleUser>\
            </AssumeRoleResult></AssumeRoleResponse>";
        (200, body.to_owned())
    })
    .await;
    let call = CloudCall::AssumeRole {
        role_arn: "arn:aws:iam::1:role/capa".to_owned(),
    };
    let arn = "arn:aws:sts::1:assumed-role/capa/drover".to_owned();
    let reply = aws.call("c0001", call).await.unwrap();
    assert_eq!(reply, CloudReply::Identity(arn));
}

#[tokio::test]
async fn cloudformation_is_not_served() {
    let (far, aws) = far(|_| query_error(400, "ValidationError", "never asked")).await;
    let prefix = "cluster-c0001".to_owned();
    let call = CloudCall::DescribeStacks { prefix };
    let error = aws.call("c0001", call).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert_eq!(error.code, "NotServed");
    assert_eq!(error.action, "cloudformation:DescribeStacks");
    assert!(far.requests().is_empty());
}
