//! Scheduled upgrades of vintage clusters, as annotations say them.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Version,
    cr::{VintageCluster, keys},
};

/// An upgrade that an operator may start by itself at its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateSchedule {
    /// Release that it goes to, as written.
    pub target_release: String,
    /// When, as written.
    pub target_time: String,
}

impl UpdateSchedule {
    /// What the cluster's annotations say; `None` when they say nothing.
    pub fn of(cluster: &VintageCluster) -> Option<Self> {
        let target_release = cluster.annotation(keys::UPDATE_TARGET_RELEASE);
        let target_time = cluster.annotation(keys::UPDATE_TARGET_TIME);
        if target_release.is_none() && target_time.is_none() {
            return None;
        }
        Some(Self {
            target_release: target_release.unwrap_or_default().to_owned(),
            target_time: target_time.unwrap_or_default().to_owned(),
        })
    }

    /// True when nothing will come of it any more: its time has passed and its release is the current one.
    pub fn is_over(&self, current: Option<Version>, now_unix: i64) -> bool {
        let reached = self.target_release.parse::<Version>().ok() == current && current.is_some();
        let passed = rfc822(&self.target_time).is_some_and(|at| at < now_unix);
        reached && passed
    }
}

/// Seconds since 1970 of a time like `15 Sep 22 08:30 UTC`: RFC 822 with a year of two or four digits. Only UTC and GMT
/// are understood, because the annotation is defined to be in UTC.
fn rfc822(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace().peekable();
    if words.peek()?.ends_with(',') {
        words.next();
    }
    let day = words.next()?.parse().ok()?;
    let month = words.next()?.to_ascii_lowercase();
    let months = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let month = i8::try_from(months.iter().position(|name| *name == month)? + 1).ok()?;
    let year: i16 = words.next()?.parse().ok()?;
    let year = if year < 100 { year + 2000 } else { year };
    let mut time = words.next()?.split(':');
    let hour = time.next()?.parse().ok()?;
    let minute = time.next()?.parse().ok()?;
    let second = time.next().map_or(Some(0), |s| s.parse().ok())?;
    if !matches!(words.next(), Some("UTC" | "GMT" | "UT" | "Z" | "+0000")) || words.next().is_some()
    {
        return None;
    }
    let at = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let at: Timestamp = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(at.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc822_times_are_read_with_two_and_four_digit_years() {
        assert_eq!(rfc822("15 Sep 22 08:30 UTC"), Some(1_663_230_600));
        assert_eq!(rfc822("Thu, 15 Sep 2022 08:30:00 GMT"), Some(1_663_230_600));
    }

    #[test]
    fn other_zones_and_nonsense_are_no_time() {
        for text in [
            "",
            "soon",
            "15 Sep 22 08:30 CEST",
            "32 Sep 22 08:30 UTC",
            "15 Sep 22",
        ] {
            assert_eq!(rfc822(text), None, "{text}");
        }
    }

    #[test]
    fn a_schedule_is_over_only_when_reached_and_past() {
        let schedule = UpdateSchedule {
            target_release: "20.1.5".into(),
            target_time: "15 Sep 22 08:30 UTC".into(),
        };
        let after = 1_700_000_000;
        let current = Some(Version::new(20, 1, 5));
        assert!(schedule.is_over(current, after));
        assert!(!schedule.is_over(current, 1_600_000_000), "still to come");
        assert!(
            !schedule.is_over(Some(Version::new(20, 1, 4)), after),
            "not reached"
        );
        assert!(!schedule.is_over(None, after), "current release unknown");
    }
}
