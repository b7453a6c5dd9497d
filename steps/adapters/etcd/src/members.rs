//! etcd's words for members and alarms, as the port says them.

use drover_ports::Member;

use crate::rpc::{self, AlarmMember, AlarmType};

/// A membership as the port gives it, ordered by name, then id: members that have not started have no name.
pub(crate) fn ordered(members: Vec<rpc::Member>) -> Vec<Member> {
    let mut members: Vec<Member> = members.into_iter().map(member).collect();
    members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    members
}

fn member(member: rpc::Member) -> Member {
    Member {
        id: member.id,
        // etcd learns a member's name when it starts.
        started: !member.name.is_empty(),
        name: member.name,
        peer_urls: member.peer_ur_ls,
        learner: member.is_learner,
    }
}

/// "NOSPACE on etcd1", ordered. A member that has no name is called by its id.
pub(crate) fn alarms(alarms: &[AlarmMember], members: &[Member]) -> Vec<String> {
    let mut words: Vec<String> = alarms
        .iter()
        .filter(|alarm| alarm.alarm() != AlarmType::None)
        .map(|alarm| {
            let name = members
                .iter()
                .find(|member| member.id == alarm.member_id && member.started)
                .map_or_else(
                    || format!("{:x}", alarm.member_id),
                    |member| member.name.clone(),
                );
            format!("{} on {name}", alarm.alarm().as_str_name())
        })
        .collect();
    words.sort();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(id: u64, name: &str, is_learner: bool) -> rpc::Member {
        rpc::Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: vec![format!("https://{id}:2380")],
            is_learner,
        }
    }

    #[test]
    fn members_are_ordered_and_nameless_ones_have_not_started() {
        let members = ordered(vec![
            raw(3, "etcd2", false),
            raw(9, "", true),
            raw(4, "etcd1", false),
        ]);
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["", "etcd1", "etcd2"]);
        assert!(!members[0].started && members[0].learner);
        assert!(members[1].started && !members[1].learner);
        assert_eq!(members[1].peer_urls, ["https://4:2380"]);
    }

    #[test]
    fn alarms_name_their_member() {
        let members = ordered(vec![raw(3, "etcd2", false), raw(4, "etcd1", false)]);
        let raised = [
            (3, AlarmType::Nospace),
            (4, AlarmType::Corrupt),
            (255, AlarmType::Nospace),
        ]
        .map(|(member_id, alarm)| AlarmMember {
            member_id,
            alarm: alarm.into(),
        });
        let expected = ["CORRUPT on etcd1", "NOSPACE on etcd2", "NOSPACE on ff"];
        assert_eq!(alarms(&raised, &members), expected);
    }
}
