//! Each call of the port: a survey, then the members that it is about.

use std::sync::Arc;

use drover_ports::{
    EtcdCall, EtcdReply, Host, Member, MemberStatus, ObjectStore, PortError, PortErrorKind, Tunnel,
};

use crate::{
    connections::Connections, error::Asked, member::View, members, sidecar, snapshot,
    survey::Survey,
};

/// etcd of workload clusters. Cheap to ask often: connections are kept.
pub struct EtcdAdapter {
    connections: Connections,
    store: Arc<dyn ObjectStore>,
}

impl EtcdAdapter {
    /// `tunnel` leads to the members, `store` keeps snapshots.
    #[must_use]
    pub fn new(tunnel: Arc<dyn Tunnel>, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            connections: Connections::new(tunnel),
            store,
        }
    }

    /// Passes one call. Not cancel-safe: a dropped mutation may or may not have happened.
    ///
    /// # Errors
    /// `Unreachable` when there is no way to a member that is needed; `Unavailable` without quorum or leader; `NotFound`
    /// for a member that does not exist; `Lost` when a mutation was not answered.
    pub async fn call(&self, cluster: &str, call: EtcdCall) -> Result<EtcdReply, PortError> {
        let asked = Asked {
            action: call.action(),
            mutates: call.mutates(),
        };
        match call {
            EtcdCall::MemberList => {
                let survey = self.survey(cluster, asked).await?;
                let members = self.members(cluster, &survey, asked).await?;
                Ok(EtcdReply::Members { members })
            }
            EtcdCall::Status { member } => self.status(cluster, &member, asked).await,
            EtcdCall::AlarmList => self.alarms(cluster, asked).await,
            EtcdCall::MoveLeader { to } => self.move_leader(cluster, &to, asked).await,
            EtcdCall::MemberRemove { id } => self.remove(cluster, id, asked).await,
            EtcdCall::SaveSnapshot { key } => self.save_snapshot(cluster, &key, asked).await,
        }
    }

    /// Forgets connections and identities, so that the next call makes fresh ones.
    pub fn refresh(&self) {
        self.connections.drop_all();
    }

    async fn survey(&self, cluster: &str, asked: Asked<'_>) -> Result<Survey, PortError> {
        Survey::take(&self.connections, cluster, asked).await
    }

    /// The membership that a quorum agrees on, from the first member that can say.
    async fn members(
        &self,
        cluster: &str,
        survey: &Survey,
        asked: Asked<'_>,
    ) -> Result<Vec<Member>, PortError> {
        let asked = asked.reading();
        let mut last = None;
        for view in survey.voters(0, asked)? {
            match self.noted(cluster, &view.host, view.members(asked, true).await) {
                Ok(found) => return Ok(members::ordered(found)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is a voter"))
    }

    async fn status(
        &self,
        cluster: &str,
        member: &str,
        asked: Asked<'_>,
    ) -> Result<EtcdReply, PortError> {
        let survey = self.survey(cluster, asked).await?;
        let known = match self.members(cluster, &survey, asked).await {
            Ok(members) => members,
            // A member's own status needs no quorum, and without one is when people want to know.
            Err(error) => self.own_view(&survey, asked).await.ok_or(error)?,
        };
        let id = by_name(&known, member, asked)?.id;
        let view = survey
            .by_id(id)
            .ok_or_else(|| no_way(member, &survey, asked))?;
        let seen = view.seen;
        Ok(EtcdReply::Status(MemberStatus {
            id,
            leader: seen.leader,
            revision: seen.revision,
            raft_applied_index: seen.applied,
            db_size: seen.db_size,
            healthy: view.healthy().await,
        }))
    }

    /// The membership as any one member sees it.
    async fn own_view(&self, survey: &Survey, asked: Asked<'_>) -> Option<Vec<Member>> {
        for view in survey.with_vote() {
            if let Ok(found) = view.members(asked, false).await {
                return Some(members::ordered(found));
            }
        }
        None
    }

    async fn alarms(&self, cluster: &str, asked: Asked<'_>) -> Result<EtcdReply, PortError> {
        let survey = self.survey(cluster, asked).await?;
        let members = self.members(cluster, &survey, asked).await?;
        let mut last = None;
        for view in survey.voters(0, asked)? {
            match self.noted(cluster, &view.host, view.alarms(asked).await) {
                Ok(raised) => {
                    let alarms = members::alarms(&raised, &members);
                    return Ok(EtcdReply::Alarms { alarms });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is a voter"))
    }

    async fn move_leader(
        &self,
        cluster: &str,
        to: &str,
        asked: Asked<'_>,
    ) -> Result<EtcdReply, PortError> {
        let survey = self.survey(cluster, asked).await?;
        let members = self.members(cluster, &survey, asked).await?;
        let target = by_name(&members, to, asked)?;
        if target.learner {
            let message = format!("{to} has no vote yet, so it cannot lead");
            return Err(asked.error(PortErrorKind::Unavailable, message));
        }
        let Some(leader) = survey.leader() else {
            let message = format!("no member that answers leads{}", survey.why());
            return Err(asked.error(PortErrorKind::Unavailable, message));
        };
        if leader.seen.id != target.id {
            let done = leader.hand_over(asked, target.id).await;
            self.noted(cluster, &leader.host, done)?;
        }
        Ok(EtcdReply::Done)
    }

    async fn remove(
        &self,
        cluster: &str,
        id: u64,
        asked: Asked<'_>,
    ) -> Result<EtcdReply, PortError> {
        let survey = self.survey(cluster, asked).await?;
        // A member that removes itself may be gone before it has answered, so another one is asked if there is one. One
        // only: an error may mean that it has happened.
        let view = survey.voters(id, asked)?[0];
        self.noted(cluster, &view.host, view.remove(asked, id).await)?;
        Ok(EtcdReply::Done)
    }

    async fn save_snapshot(
        &self,
        cluster: &str,
        key: &str,
        asked: Asked<'_>,
    ) -> Result<EtcdReply, PortError> {
        let store = self.store.as_ref();
        if let Some(kept) = sidecar::find(store, key, asked).await? {
            return Ok(EtcdReply::Snapshot(kept));
        }
        let survey = self.survey(cluster, asked).await?;
        let view = self.source(&survey, asked).await?;
        // Until the store is asked, nothing has happened.
        let read = snapshot::read(view, asked.reading()).await;
        let (file, about) = self.noted(cluster, &view.host, read)?;
        sidecar::keep(store, key, &file, &about, asked).await?;
        tracing::info!(
            cluster,
            key,
            size = about.size,
            revision = about.revision,
            "etcd snapshot kept"
        );
        Ok(EtcdReply::Snapshot(about))
    }

    /// A healthy member to take a snapshot of; the leader, which has most to do, only when there is no other.
    async fn source<'s>(
        &self,
        survey: &'s Survey,
        asked: Asked<'_>,
    ) -> Result<&'s View, PortError> {
        let leader = survey.leader().map_or(0, |view| view.seen.id);
        for view in survey.voters(leader, asked)? {
            if view.healthy().await {
                return Ok(view);
            }
        }
        let message = format!("no healthy member to take a snapshot of{}", survey.why());
        Err(asked.error(PortErrorKind::Unavailable, message))
    }

    /// Passes a result on. Connections that may be broken are not used again.
    fn noted<T>(
        &self,
        cluster: &str,
        host: &Host,
        result: Result<T, PortError>,
    ) -> Result<T, PortError> {
        if let Err(error) = &result
            && error.code.is_empty()
        {
            self.connections.drop_one(cluster, host);
        }
        result
    }
}

fn by_name<'m>(
    members: &'m [Member],
    name: &str,
    asked: Asked<'_>,
) -> Result<&'m Member, PortError> {
    members
        .iter()
        .find(|member| member.started && member.name == name)
        .ok_or_else(|| {
            let message = format!("there is no member {name}");
            asked
                .error(PortErrorKind::NotFound, message)
                .with_code("etcdserver: member not found")
        })
}

fn no_way(member: &str, survey: &Survey, asked: Asked<'_>) -> PortError {
    let message = format!("no way to member {member}{}", survey.why());
    asked.error(PortErrorKind::Unreachable, message)
}
