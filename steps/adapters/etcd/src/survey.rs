//! Who is there: all hosts asked at once, and which of them to ask for what.

use drover_ports::{PortError, PortErrorKind};
use futures_util::future::join_all;

use crate::{connections::Connections, error::Asked, member::View, rpc::StatusResponse};

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its id.
    pub(crate) id: u64,
    /// Id of the leader it follows; 0 when it knows none.
    pub(crate) leader: u64,
    /// Counts elections.
    pub(crate) term: u64,
    /// True while it has no vote.
    pub(crate) learner: bool,
    /// Newest revision that it has applied.
    pub(crate) revision: u64,
    /// Applied raft index.
    pub(crate) applied: u64,
    /// Bytes of the database.
    pub(crate) db_size: u64,
}

impl From<&StatusResponse> for Seen {
    fn from(status: &StatusResponse) -> Self {
        let header = status.header.unwrap_or_default();
        Self {
            id: header.member_id,
            leader: status.leader,
            term: status.raft_term,
            learner: status.is_learner,
            revision: u64::try_from(header.revision).unwrap_or(0),
            applied: status.raft_applied_index,
            db_size: u64::try_from(status.db_size).unwrap_or(0),
        }
    }
}

/// All members that answered, and why the others did not.
pub(crate) struct Survey {
    views: Vec<View>,
    misses: Vec<String>,
}

impl Survey {
    /// Asks every host of a cluster at once.
    ///
    /// # Errors
    /// Only when no member answered at all.
    pub(crate) async fn take(
        connections: &Connections,
        cluster: &str,
        asked: Asked<'_>,
    ) -> Result<Self, PortError> {
        let hosts = connections.hosts(cluster, asked).await?;
        let config = connections.tls(cluster, asked).await?;
        let looks = hosts.into_iter().map(|host| {
            let config = &config;
            async move {
                let node = host.node.clone();
                let channel = connections
                    .to(cluster, &host, config)
                    .await
                    .map_err(|why| format!("{node}: {why}"))?;
                View::take(host.clone(), channel, asked)
                    .await
                    .map_err(|error| {
                        connections.drop_one(cluster, &host);
                        format!("{node}: {}", error.message)
                    })
            }
        });
        let mut survey = Self {
            views: Vec::new(),
            misses: Vec::new(),
        };
        for look in join_all(looks).await {
            match look {
                Ok(view) => survey.views.push(view),
                Err(why) => survey.misses.push(why),
            }
        }
        if survey.views.is_empty() {
            // Perhaps it is us: the client certificate may have been replaced.
            connections.drop_cluster(cluster);
            return Err(survey.nobody(asked));
        }
        Ok(survey)
    }

    /// Members that can answer for all, in the order in which to ask them; `avoid` is asked last.
    ///
    /// # Errors
    /// `Unavailable` when none has a vote and follows a leader: asking would take etcd's 7 s to find out as much.
    pub(crate) fn voters(&self, avoid: u64, asked: Asked<'_>) -> Result<Vec<&View>, PortError> {
        let seen: Vec<Seen> = self.views.iter().map(|view| view.seen).collect();
        let order = voters(&seen, avoid);
        if order.is_empty() {
            let message = format!("no member with a vote follows a leader{}", self.why());
            return Err(asked.error(PortErrorKind::Unavailable, message));
        }
        Ok(order.into_iter().map(|index| &self.views[index]).collect())
    }

    /// Members that have a vote, leader or not.
    pub(crate) fn with_vote(&self) -> impl Iterator<Item = &View> {
        self.views.iter().filter(|view| !view.seen.learner)
    }

    /// The member that leads, if it answered.
    pub(crate) fn leader(&self) -> Option<&View> {
        let seen: Vec<Seen> = self.views.iter().map(|view| view.seen).collect();
        leader(&seen).map(|index| &self.views[index])
    }

    /// A member by id, if it answered.
    pub(crate) fn by_id(&self, id: u64) -> Option<&View> {
        self.views.iter().find(|view| view.seen.id == id)
    }

    /// Why some did not answer, to be put behind a sentence; empty when all did.
    pub(crate) fn why(&self) -> String {
        if self.misses.is_empty() {
            return String::new();
        }
        format!(" ({})", self.misses.join("; "))
    }

    fn nobody(&self, asked: Asked<'_>) -> PortError {
        let message = format!("no etcd member answers{}", self.why());
        asked.error(PortErrorKind::Unreachable, message)
    }
}

/// Indices of members that have a vote and follow a leader, `avoid` last.
fn voters(seen: &[Seen], avoid: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..seen.len())
        .filter(|&index| !seen[index].learner && seen[index].leader != 0)
        .collect();
    order.sort_by_key(|&index| seen[index].id == avoid);
    order
}

/// Index of the leader. One that has been cut off may still think it leads: the newest term is right.
fn leader(seen: &[Seen]) -> Option<usize> {
    (0..seen.len())
        .filter(|&index| seen[index].leader == seen[index].id && seen[index].id != 0)
        .max_by_key(|&index| seen[index].term)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: u64, leader: u64) -> Seen {
        Seen {
            id,
            leader,
            term: 2,
            learner: false,
            revision: 10,
            applied: 20,
            db_size: 30,
        }
    }

    #[test]
    fn whoever_has_no_vote_or_no_leader_is_not_asked() {
        let learner = Seen {
            learner: true,
            ..seen(3, 4)
        };
        let all = [seen(1, 0), seen(2, 4), learner, seen(4, 4)];
        assert_eq!(voters(&all, 0), [1, 3]);
    }

    #[test]
    fn whoever_is_to_be_avoided_comes_last() {
        let all = [seen(2, 4), seen(4, 4), seen(5, 4)];
        assert_eq!(voters(&all, 2), [1, 2, 0]);
        assert_eq!(
            voters(&all[..1], 2),
            [0],
            "but it is asked when there is no other"
        );
    }

    #[test]
    fn a_leader_of_an_old_term_leads_no_more() {
        let old = Seen {
            term: 1,
            ..seen(1, 1)
        };
        assert_eq!(leader(&[old, seen(2, 3), seen(3, 3)]), Some(2));
        assert_eq!(leader(&[seen(1, 0), seen(2, 3)]), None);
        assert_eq!(leader(&[seen(0, 0)]), None);
    }

    #[test]
    fn a_member_is_known_by_the_header_of_its_status() {
        let status = StatusResponse {
            header: Some(crate::rpc::ResponseHeader {
                member_id: 7,
                revision: 42,
            }),
            leader: 9,
            raft_term: 3,
            raft_applied_index: 50,
            db_size: 4096,
            is_learner: true,
        };
        let expected = Seen {
            id: 7,
            leader: 9,
            term: 3,
            learner: true,
            revision: 42,
            applied: 50,
            db_size: 4096,
        };
        assert_eq!(Seen::from(&status), expected);
    }
}
