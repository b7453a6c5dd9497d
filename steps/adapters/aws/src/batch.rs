//! Long lists in several requests, and lists of which some are gone.

use std::future::Future;

use drover_ports::PortError;

/// The most ids that one request carries: well below every limit of EC2, and below what a form of 64 KiB holds.
pub(crate) const IDS: usize = 200;

/// Does something to all of a list; nothing to an empty one, which AWS would refuse, or take for "all there are".
///
/// AWS refuses a whole request when one of its ids is unknown. Where those are to be ignored, such a list is gone
/// through one by one.
pub(crate) async fn ignoring<F>(
    ids: &[String],
    is_gone: impl Fn(&PortError) -> bool,
    act: impl Fn(Vec<String>) -> F,
) -> Result<(), PortError>
where
    F: Future<Output = Result<(), PortError>>,
{
    for chunk in ids.chunks(IDS) {
        match act(chunk.to_vec()).await {
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
            Ok(()) => continue,
        }
        if chunk.len() == 1 {
            continue;
        }
        for id in chunk {
            match act(vec![id.clone()]).await {
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use drover_ports::PortErrorKind;

    use super::*;

    /// Answers as AWS does when only `known` exist; tells what it was asked, and how it ended.
    async fn play(ids: &[&str], known: &[&str]) -> (Vec<String>, Result<(), PortError>) {
        let asked = Mutex::new(Vec::new());
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let end = ignoring(&ids, PortError::is_not_found, |ids| {
            asked.lock().unwrap().push(ids.join(","));
            let kind = if ids.iter().any(|id| id == "denied") {
                Some(PortErrorKind::Denied)
            } else if ids.iter().all(|id| known.contains(&id.as_str())) {
                None
            } else {
                Some(PortErrorKind::NotFound)
            };
            std::future::ready(kind.map_or(Ok(()), |kind| Err(PortError::new(kind, "x", ""))))
        })
        .await;
        (asked.into_inner().unwrap(), end)
    }

    #[tokio::test]
    async fn what_is_gone_does_not_keep_the_rest() {
        let (asked, end) = play(&["a", "b", "c"], &["a", "c"]).await;
        assert_eq!((asked, end), (vec_of(&["a,b,c", "a", "b", "c"]), Ok(())));
    }

    #[tokio::test]
    async fn one_request_does_when_all_are_there_and_none_when_there_is_nothing() {
        let (asked, end) = play(&["a", "b"], &["a", "b"]).await;
        assert_eq!((asked, end), (vec_of(&["a,b"]), Ok(())));
        assert_eq!(play(&[], &[]).await, (Vec::new(), Ok(())));
        let (asked, end) = play(&["gone"], &[]).await;
        assert_eq!((asked, end), (vec_of(&["gone"]), Ok(())));
    }

    #[tokio::test]
    async fn another_error_ends_it() {
        let (asked, end) = play(&["a", "denied", "b"], &["a", "b"]).await;
        assert_eq!(asked, vec_of(&["a,denied,b"]));
        assert_eq!(end.unwrap_err().kind, PortErrorKind::Denied);
    }

    #[tokio::test]
    async fn long_lists_are_split() {
        let ids: Vec<String> = (0..IDS + 1).map(|n| n.to_string()).collect();
        let sizes = Mutex::new(Vec::new());
        let end = ignoring(&ids, PortError::is_not_found, |ids| {
            sizes.lock().unwrap().push(ids.len());
            std::future::ready(Ok(()))
        })
        .await;
        assert_eq!(end, Ok(()));
        assert_eq!(sizes.into_inner().unwrap(), [IDS, 1]);
    }

    fn vec_of(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }
}
