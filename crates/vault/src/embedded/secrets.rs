//! The secrets of the embedded vault: versions, and what waits wrapped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eparch_domain::{Moment, Span, limits};
use serde::{Deserialize, Serialize};

use super::state::{State, hash, later, policy_of};
use crate::error::{Ending, VaultError};
use crate::path::SecretPath;
use crate::policy::{self, Capability};
use crate::secret::{Fields, Secret, Token};
use crate::vault::{READING, Reader, SecretVersion, WRAPPING, check_fields, check_own, check_wrap_ttl};

/// A secret's versions that are kept, the oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versions {
    newest: u32,
    kept: VecDeque<Arc<Kept>>,
}

/// What is sealed of one version: the only place where a secret is written out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Kept {
    #[serde(with = "exposed")]
    fields: Fields,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wrap {
    version: u32,
    content: Arc<Kept>,
    pub(super) ends: Moment,
}

impl State {
    pub(super) fn read(
        &self,
        reader: Reader<'_>,
        path: &SecretPath,
        version: Option<u32>,
    ) -> Result<SecretVersion, VaultError> {
        match reader {
            Reader::Daemon => {}
            Reader::Token(token) => {
                let wrap = self.may_read(token, path, READING)?;
                if wrap.is_some_and(|wrap| wrap.least.is_some()) {
                    return Err(VaultError::Denied { doing: READING });
                }
            }
        }
        let (version, kept) = self.version(path, version)?;
        Ok(SecretVersion { version, fields: kept.fields.clone() })
    }

    pub(super) fn write(
        &mut self,
        path: &SecretPath,
        fields: Fields,
        expected: Option<u32>,
    ) -> Result<u32, VaultError> {
        check_fields(&fields)?;
        let found = self.secrets.get(path);
        if let Some(expected) =
            expected.filter(|expected| *expected != found.map_or(0, |versions| versions.newest))
        {
            return Err(VaultError::Changed { expected });
        }
        if found.is_none() && self.secrets.len() >= limits::VAULT_SECRETS {
            return Err(VaultError::TooMuch { what: "secrets", most: limits::VAULT_SECRETS });
        }
        let versions = Arc::make_mut(self.secrets.entry(path.clone()).or_default());
        let Some(newest) = versions.newest.checked_add(1) else {
            return Err(VaultError::TooMuch { what: "versions of a secret", most: usize::MAX });
        };
        versions.newest = newest;
        versions.kept.push_back(Arc::new(Kept { fields }));
        if versions.kept.len() > limits::VAULT_SECRET_VERSIONS {
            versions.kept.pop_front();
        }
        Ok(newest)
    }

    pub(super) fn delete(&mut self, path: &SecretPath) {
        self.secrets.remove(path);
    }

    pub(super) fn list(&self, below: Option<&SecretPath>) -> Result<Vec<String>, VaultError> {
        let prefix = below.map_or(String::new(), |path| format!("{path}/"));
        let mut names: Vec<String> = Vec::new();
        for path in self.secrets.keys() {
            let Some(rest) = path.as_str().strip_prefix(&prefix) else { continue };
            let name = rest.find('/').map_or(rest, |end| &rest[..=end]);
            names.push(name.to_owned());
        }
        names.sort_unstable();
        names.dedup();
        if names.is_empty() && below.is_some() {
            return Err(VaultError::NotFound { what: "folder" });
        }
        Ok(names)
    }

    pub(super) fn wrap(
        &mut self,
        reader: &Token,
        path: &SecretPath,
        ttl: Span,
        wrapping: &Token,
        now: Moment,
    ) -> Result<(), VaultError> {
        check_wrap_ttl(ttl)?;
        let bounds = self.may_read(reader, path, WRAPPING)?.unwrap_or_default();
        if bounds.least.is_some_and(|least| ttl < least) || bounds.most.is_some_and(|most| ttl > most) {
            return Err(VaultError::Denied { doing: WRAPPING });
        }
        if self.wraps.len() >= limits::VAULT_WRAPS {
            return Err(VaultError::TooMuch { what: "wrapped secrets", most: limits::VAULT_WRAPS });
        }
        let (version, content) = self.version(path, None)?;
        let wrap = Wrap { version, content: content.clone(), ends: later(now, ttl) };
        self.wraps.insert(hash(wrapping), wrap);
        Ok(())
    }

    pub(super) fn unwrap(&mut self, wrapping: &Token) -> Result<SecretVersion, VaultError> {
        self.trust_clock()?;
        match self.wraps.remove(&hash(wrapping)) {
            Some(wrap) => Ok(SecretVersion { version: wrap.version, fields: wrap.content.fields.clone() }),
            None => Err(VaultError::Ended { how: Ending::Used }),
        }
    }

    /// Whether the policy of a token lets it read there, and how that is to be wrapped.
    fn may_read(
        &self,
        token: &Token,
        path: &SecretPath,
        doing: &'static str,
    ) -> Result<Option<policy::WrapBounds>, VaultError> {
        self.trust_clock()?;
        let (_, row) = self.alive(token)?;
        let name = policy_of(row);
        let found = policy::shipped(&name)
            .and_then(|policy| policy::capabilities(&[policy], &format!("secret/data/{path}")))
            .filter(|found| found.capabilities.contains(&Capability::Read));
        let Some(found) = found else { return Err(VaultError::Denied { doing }) };
        check_own(path, row.agent).map_err(|_| VaultError::Denied { doing })?;
        Ok(found.wrap)
    }

    fn version(&self, path: &SecretPath, version: Option<u32>) -> Result<(u32, &Arc<Kept>), VaultError> {
        let versions = self.secrets.get(path).ok_or(VaultError::NotFound { what: "secret" })?;
        let wanted = version.unwrap_or(versions.newest);
        let back = versions.newest.checked_sub(wanted).and_then(|back| usize::try_from(back).ok());
        let kept = back.and_then(|back| versions.kept.iter().rev().nth(back));
        kept.map(|kept| (wanted, kept)).ok_or(VaultError::NotFound { what: "version of the secret" })
    }
}

/// Writes secrets out, for the sealed file alone.
mod exposed {
    use super::{BTreeMap, Fields, Secret};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(fields: &Fields, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(fields.iter().map(|(name, text)| (name, text.expose())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Fields, D::Error> {
        BTreeMap::<String, Secret>::deserialize(input)
    }
}
