//! Names of things, as types.

use std::{
    borrow::Borrow, cmp::Ordering, fmt, hash::Hash, hash::Hasher, marker::PhantomData, sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A short immutable name of a `K`. Cheap to clone, ordered by its text.
pub struct Id<K> {
    text: Arc<str>,
    kind: PhantomData<fn() -> K>,
}

/// Marks workflow ids.
pub enum WorkflowKind {}
/// Marks step ids.
pub enum StepKind {}
/// Marks worker ids.
pub enum WorkerKind {}
/// Marks installation names.
pub enum InstallationKind {}
/// Marks pool names.
pub enum PoolKind {}

/// What ids of one kind may look like.
pub trait Marker {
    /// True when `for-each[key]/step` is one, too.
    const HAS_ITEMS: bool = false;
}

impl Marker for WorkflowKind {}
impl Marker for StepKind {
    const HAS_ITEMS: bool = true;
}
impl Marker for WorkerKind {}
impl Marker for InstallationKind {}
impl Marker for PoolKind {}

/// One durable execution of a definition, for one target.
pub type WorkflowId = Id<WorkflowKind>;
/// A named node of a definition.
pub type StepId = Id<StepKind>;
/// A worker process, stable across restarts.
pub type WorkerId = Id<WorkerKind>;
/// The unit of placement, isolation and identity.
pub type InstallationName = Id<InstallationKind>;
/// The workers of one installation that can reach the same places.
pub type PoolName = Id<PoolKind>;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid id: use 1 to 63 of a-z, 0-9, '-' and '.', beginning with a letter or digit"
)]
pub struct InvalidId {
    text: String,
}

/// The longest id, in bytes.
pub const ID_LENGTH_MAX: usize = 63;

/// True for 1 to 63 of `a-z`, `0-9`, `-`, `.`, beginning with a letter or digit.
#[must_use]
pub fn is_word(text: &str) -> bool {
    let first = text.as_bytes().first().copied().unwrap_or(b' ');
    text.len() <= ID_LENGTH_MAX
        && (first.is_ascii_lowercase() || first.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

/// The three words of `for-each[key]/step`.
fn item_words(text: &str) -> Option<[&str; 3]> {
    let (for_each, rest) = text.split_once('[')?;
    let (key, step) = rest.split_once("]/")?;
    Some([for_each, key, step])
}

impl StepId {
    /// The id of a step of one item: `for-each[key]/step`. All three are words.
    ///
    /// # Errors
    /// When one of them is not a word.
    pub fn of_item(for_each: &str, key: &str, step: &str) -> Result<Self, InvalidId> {
        Self::new(format!("{for_each}[{key}]/{step}"))
    }

    /// True for the id of a step of an item.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        item_words(&self.text).is_some()
    }
}

impl<K: Marker> Id<K> {
    /// Checks and takes a text: 1 to 63 of `a-z`, `0-9`, `-`, `.`, beginning with a letter or digit; for steps also
    /// `for-each[key]/step` of three such words.
    ///
    /// # Errors
    /// When the text has another shape.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
        let text = text.as_ref();
        let of_item =
            || K::HAS_ITEMS && item_words(text).is_some_and(|words| words.into_iter().all(is_word));
        if is_word(text) || of_item() {
            Ok(Self {
                text: Arc::from(text),
                kind: PhantomData,
            })
        } else {
            Err(InvalidId {
                text: text.chars().take(80).collect(),
            })
        }
    }
}

impl<K> Id<K> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self {
            text: Arc::clone(&self.text),
            kind: PhantomData,
        }
    }
}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<K> Borrow<str> for Id<K> {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, K: Marker> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

/// Orders the attempts of one step: first by epoch, then by counter. A report with an older fence changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The coordinator's epoch when the attempt was leased.
    pub epoch: u64,
    /// Counts leases within one workflow.
    pub counter: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

impl Serialize for Fence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.split_once('.').and_then(|(epoch, counter)| {
            Some(Self {
                epoch: epoch.parse().ok()?,
                counter: counter.parse().ok()?,
            })
        });
        parts.ok_or_else(|| D::Error::custom("a fence is <epoch>.<counter>"))
    }
}

/// One version of a step kind, written `area.verb_noun/1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindRef {
    /// `area.verb_noun`
    pub name: Arc<str>,
    /// At least 1.
    pub version: u32,
}

impl KindRef {
    /// Reads `area.verb_noun/1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, version) = text.split_once('/')?;
        let (area, verb) = name.split_once('.')?;
        let version: u32 = version.parse().ok()?;
        (is_snake(area) && is_snake(verb) && version > 0).then(|| Self {
            name: Arc::from(name),
            version,
        })
    }
}

fn is_snake(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl fmt::Display for KindRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl Serialize for KindRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KindRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a step kind is area.verb_noun/version"))
    }
}

/// SHA-256, written as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Of a value's compact JSON.
    #[must_use]
    pub fn of_json(value: &impl Serialize) -> Self {
        Self::of(&serde_json::to_vec(value).expect("values of the core serialize"))
    }

    /// Reads hex.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a digest is 64 hex digits"))
    }
}

/// Who acted: `operator/<name>`, `worker/<pool>/<id>`, `coordinator`, or `unverified:<name>`. Derived by the server from
/// the connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub Arc<str>);

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_a_key_or_a_shell_would_trip_over() {
        for good in ["a", "m1", "c0001", "three-control-plane-nodes", "a.b-c"] {
            assert!(WorkflowId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(WorkflowId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fences_order_by_epoch_first() {
        assert!(
            Fence {
                epoch: 2,
                counter: 1
            } > Fence {
                epoch: 1,
                counter: 9
            }
        );
        assert_eq!(
            serde_json::to_string(&Fence {
                epoch: 7,
                counter: 42
            })
            .unwrap(),
            r#""7.42""#
        );
    }

    #[test]
    fn kinds_need_area_verb_and_version() {
        assert_eq!(
            KindRef::parse("aws.sync_elb/2").unwrap().to_string(),
            "aws.sync_elb/2"
        );
        for bad in [
            "aws/1",
            "aws.sync",
            "aws.sync/0",
            "aws.Sync/1",
            ".x/1",
            "a.b/x",
        ] {
            assert!(KindRef::parse(bad).is_none(), "{bad}");
        }
    }
}
