//! A far side that fails: how often it is asked, and what is said of what may have happened.

use drover_ports::{CloudCall, PortErrorKind, Tags};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::far::{adapter_of, ec2_error, far};

fn read() -> CloudCall {
    CloudCall::DescribeInstances { tags: Tags::new() }
}

fn mutation() -> CloudCall {
    CloudCall::TerminateInstances {
        instances: vec!["i-1".to_owned()],
    }
}

#[tokio::test]
async fn a_throttled_read_is_tried_twice_and_a_mutation_once() {
    let (far, aws) = far(|_| ec2_error(503, "RequestLimitExceeded")).await;
    let error = aws.call("c0001", read()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Throttled);
    assert_eq!(error.code, "RequestLimitExceeded");
    assert_eq!(error.action, "ec2:DescribeInstances");
    assert_eq!(far.requests().len(), 2);
    let error = aws.call("c0001", mutation()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Throttled);
    assert_eq!(far.requests().len(), 3);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let aws = adapter_of(address).await;
    for call in [read(), mutation()] {
        let error = aws.call("c0001", call).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_loses_a_mutation() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    TaskTracker::new().spawn(async move {
        // Takes the request, and hangs up without an answer.
        while let Ok((stream, _)) = listener.accept().await {
            let mut request = [0; 64];
            stream.readable().await.unwrap();
            drop(stream.try_read(&mut request));
        }
    });
    let aws = adapter_of(address).await;
    let error = aws.call("c0001", mutation()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Lost, "{error}");
    let error = aws.call("c0001", read()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_awss_is_unavailable() {
    let (_far, aws) = far(|_| (502, "<html>bad gateway</html>".to_owned())).await;
    let error = aws.call("c0001", mutation()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn credentials_that_have_expired_can_be_refreshed() {
    let (_far, aws) = far(|_| ec2_error(400, "RequestExpired")).await;
    let error = aws.call("c0001", mutation()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::ExpiredCredentials);
    aws.refresh().await;
    let error = aws.call("c0001", mutation()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::ExpiredCredentials);
}
