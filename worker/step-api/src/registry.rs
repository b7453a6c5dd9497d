//! Step kinds by name and version.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    sync::Arc,
};

use crate::{Compensation, Declaration, ErasedStep, LossPolicy, Role, Step};

/// The kinds that a worker serves.
pub struct Registry<P> {
    kinds: BTreeMap<(&'static str, u32), Arc<dyn ErasedStep<P>>>,
}

/// Why a kind was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    /// `name/version`
    pub kind: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step kind {}: {}", self.kind, self.problem)
    }
}

impl Error for RegistryError {}

impl<P: Send + Sync + 'static> Default for Registry<P> {
    fn default() -> Self {
        Self {
            kinds: BTreeMap::new(),
        }
    }
}

impl<P: Send + Sync + 'static> Registry<P> {
    /// Adds a kind.
    ///
    /// # Errors
    /// When the kind is there already or its declaration contradicts itself.
    pub fn register<S: Step<P>>(&mut self, step: S) -> Result<(), RegistryError> {
        let declaration = S::DECLARATION;
        let refuse = |problem: String| RegistryError {
            kind: format!("{}/{}", declaration.name, declaration.version),
            problem,
        };
        check(&declaration).map_err(refuse)?;
        let key = (declaration.name, declaration.version);
        if self.kinds.contains_key(&key) {
            return Err(refuse("is registered twice".to_owned()));
        }
        self.kinds.insert(key, Arc::new(step));
        Ok(())
    }

    /// The kind, if it is served.
    pub fn get(&self, name: &str, version: u32) -> Option<&Arc<dyn ErasedStep<P>>> {
        self.kinds
            .iter()
            .find(|((n, v), _)| *n == name && *v == version)
            .map(|(_, kind)| kind)
    }

    /// All kinds, ordered by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ErasedStep<P>>> {
        self.kinds.values()
    }
}

fn check(declaration: &Declaration) -> Result<(), String> {
    check_name(declaration.name)?;
    if declaration.version == 0 {
        return Err("version must be at least 1".to_owned());
    }
    if declaration.summary.trim().is_empty() {
        return Err("summary is empty".to_owned());
    }
    let mut effects = BTreeSet::new();
    for effect in declaration.effects {
        if !is_kebab(effect.name) {
            return Err(format!("effect {:?} is not kebab-case", effect.name));
        }
        if !effects.insert(effect.name) {
            return Err(format!("effect {:?} is declared twice", effect.name));
        }
    }
    if let Compensation::Manual(what) = declaration.compensation
        && what.trim().is_empty()
    {
        return Err("manual compensation must say what a person has to do".to_owned());
    }
    if declaration.compensation == Compensation::Undo && declaration.effects.is_empty() {
        return Err("declares undo but no effect that could be undone".to_owned());
    }
    match declaration.role {
        Role::Step if declaration.timeouts.start_to_close.is_none() => {
            return Err("a step must declare start_to_close".to_owned());
        }
        Role::Guard if declaration.timeouts.start_to_close.is_some() => {
            return Err(
                "a guard runs as long as its span and must not declare start_to_close".to_owned(),
            );
        }
        Role::Guard if declaration.loss_policy != LossPolicy::RaceOk => {
            return Err(
                "a guard must be race_ok: a peer may start it while the old one still runs"
                    .to_owned(),
            );
        }
        Role::Step | Role::Guard => {}
    }
    if let LossPolicy::FinishCritical { max } = declaration.loss_policy
        && max.is_zero()
    {
        return Err("finish_critical needs a max above zero".to_owned());
    }
    let retry = declaration.retry;
    if retry.initial_interval.is_zero()
        || retry.maximum_interval < retry.initial_interval
        || retry.backoff_coefficient < 1.0
        || retry.maximum_attempts == 0
        || retry.maximum_losses == 0
    {
        return Err("the retry policy needs 0 < initial <= maximum interval, a coefficient of at least 1, and at least one attempt and one loss".to_owned());
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let valid = name
        .split_once('.')
        .is_some_and(|(area, verb)| is_snake(area) && is_snake(verb));
    if valid {
        Ok(())
    } else {
        Err("name must be area.verb_noun in snake case".to_owned())
    }
}

fn is_snake(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_kebab(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
