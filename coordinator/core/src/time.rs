//! Points in time and durations, without a clock.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Microseconds since 1970-01-01T00:00:00Z. On the domain clock unless said otherwise; written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time `duration` later, or the last representable one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Reads RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // What `Display` writes for times that RFC 3339 has no words for is on disks, too.
        if let Some(micros) = text.strip_suffix("us") {
            return micros.parse().ok().map(Self);
        }
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|time| Self(time.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            // Beyond the year 9999: a broken clock, or a wait that somebody made absurdly long. It must not break the
            // history, so `parse` reads it.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

/// Reads an ISO 8601 duration such as `PT30M`; days have 24 hours; years and months are refused, negative ones too.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if !text.starts_with('P') {
        return None;
    }
    let Ok(span) = text.parse::<jiff::Span>() else {
        // More hours than a span holds: what `format_duration` writes of a very long duration.
        let long: SignedDuration = text.parse().ok()?;
        return Duration::try_from(long).ok();
    };
    if span.get_years() != 0 || span.get_months() != 0 {
        return None;
    }
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

/// Writes an ISO 8601 duration.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .unwrap_or(SignedDuration::MAX)
        .to_string()
}

/// Serde for durations as ISO 8601.
pub mod iso8601 {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};
    use serde::de::Error as _;

    /// Writes an ISO 8601 duration.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads an ISO 8601 duration.
    ///
    /// # Errors
    /// When the text is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).ok_or_else(|| D::Error::custom("not an ISO 8601 duration"))
    }

    /// As the parent module, for optional durations.
    pub mod option {
        use super::{
            Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration,
        };
        use serde::{Serialize as _, de::Error as _};

        /// Writes an ISO 8601 duration or null.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            duration.map(format_duration).serialize(serializer)
        }

        /// Reads an ISO 8601 duration or null.
        ///
        /// # Errors
        /// When the text is none.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            match Option::<String>::deserialize(deserializer)? {
                None => Ok(None),
                Some(text) => parse_duration(&text)
                    .map(Some)
                    .ok_or_else(|| D::Error::custom("not an ISO 8601 duration")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_iso_8601_with_days_of_24_hours() {
        assert_eq!(parse_duration("PT1H30M"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("P1D"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("PT0.5S"), Some(Duration::from_millis(500)));
        for bad in ["", "1h", "-PT1S", "P1M", "P1Y", "PT", "5m"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "PT1H30M");
    }

    #[test]
    fn whatever_is_written_is_read() {
        let longest = Duration::new(i64::MAX.unsigned_abs(), 999_999_999);
        for duration in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_secs(u64::MAX / 4),
            longest,
        ] {
            let text = format_duration(duration);
            assert_eq!(parse_duration(&text), Some(duration), "{text}");
        }
        // Longer than anything can be: as long as anything can be.
        assert_eq!(
            parse_duration(&format_duration(Duration::MAX)),
            Some(longest)
        );
        for micros in [i64::MIN, -1, 0, 253_402_300_800_000_000, i64::MAX] {
            let text = Timestamp(micros).to_string();
            assert_eq!(Timestamp::parse(&text), Some(Timestamp(micros)), "{text}");
        }
    }

    #[test]
    fn times_keep_their_microseconds() {
        let time = Timestamp(1_796_367_600_123_456);
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        assert!(time.to_string().ends_with(".123456Z"), "{time}");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }
}
