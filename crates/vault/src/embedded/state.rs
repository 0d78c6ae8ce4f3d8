//! What the embedded vault keeps, and its rules. Nothing here reads a clock, a disk or dice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use eparch_domain::{AgentId, Digest, Moment, RunId, Span, Tier, Timestamp, limits};
use serde::{Deserialize, Serialize};

use super::secrets::{Versions, Wrap};
use crate::error::{Ending, VaultError};
use crate::path::SecretPath;
use crate::policy;
use crate::secret::Token;
use crate::vault::{Accessor, ChildGrant, RunGrant, TokenStatus, check_ttl};

/// Everything, as it is sealed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The latest moment at which it was written.
    seen: Moment,
    tokens: BTreeMap<Accessor, Row>,
    pub(super) secrets: BTreeMap<SecretPath, Arc<Versions>>,
    pub(super) wraps: BTreeMap<Digest, Wrap>,
    /// Tokens that are over, the oldest first.
    ended: VecDeque<Ended>,
    /// How far the clock is behind what was seen before the store was opened.
    #[serde(skip)]
    behind: Option<Span>,
}

/// A token that is alive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Of the token; the token itself is kept nowhere. With 256 random bits, nobody finds it by trying.
    hash: Digest,
    run: RunId,
    pub(super) agent: Option<AgentId>,
    tier: Tier,
    parent: Option<Accessor>,
    ends: Moment,
    /// Past this it is not renewed.
    last: Option<Moment>,
    renewals: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ended {
    accessor: Accessor,
    hash: Digest,
    how: Ending,
}

/// What a caller brings because it is random: a new token and what it is called.
pub(super) struct Fresh {
    pub(super) token: Token,
    pub(super) accessor: Accessor,
}

impl State {
    /// Takes the state as it was written, at a moment after. When the clock is before what was seen, nobody can say which
    /// tokens are over: none gives any authority until the clock has caught up, or somebody vouches for it.
    pub(super) fn reopened(mut self, now: Moment) -> State {
        let behind = |seen: u64, now: u64| {
            Some(seen.saturating_sub(now)).filter(|gap| *gap > 0).map(Span::from_millis)
        };
        let wall = (self.seen.wall.millis().saturating_sub(now.wall.millis())).max(0).unsigned_abs();
        let skew = limits::CLOCK_SKEW.millis();
        self.behind = behind(wall, skew).map(|_| Span::from_millis(wall)).or_else(|| {
            // Ledger time never runs backwards: one that did is of another home, or of an older copy of this one.
            behind(self.seen.ledger.millis(), now.ledger.millis())
        });
        self
    }

    /// Takes the state as it was written by this process; what the process knows of the clock stays.
    pub(super) fn in_place_of(mut self, other: &State) -> State {
        self.behind = other.behind;
        self
    }

    /// Takes note of the time: what is over by now stays over, whatever the clock does next.
    pub(super) fn observe(&mut self, now: Moment) {
        if let Some(behind) = self.behind {
            // Only the clock itself can show that it is right again: it passes what was seen.
            if now.wall >= self.seen.wall && now.ledger >= self.seen.ledger {
                self.behind = None;
            } else {
                let wall = self.seen.wall.millis().saturating_sub(now.wall.millis()).max(0).unsigned_abs();
                self.behind = Some(if wall == 0 { behind } else { Span::from_millis(wall) });
                return;
            }
        }
        let is_over_now = |(_, row): &(&Accessor, &Row)| is_over(row.ends, now);
        let over = self.tokens.iter().filter(is_over_now).map(|(accessor, _)| accessor.clone()).collect();
        self.end(over, Ending::Expired);
        self.wraps.retain(|_, wrap| !is_over(wrap.ends, now));
    }

    /// Notes when it is written.
    pub(super) fn written(&mut self, now: Moment) {
        // The wall clock may have been set back by somebody while the store was open: what counts is what it says now.
        if self.behind.is_none() {
            self.seen = now;
        }
    }

    /// Takes the clock as it is. Nobody can say which tokens are over, so all are.
    pub(super) fn accept_clock(&mut self, now: Moment) {
        if self.behind.take().is_some() {
            self.end(self.tokens.keys().cloned().collect(), Ending::Expired);
            self.wraps.clear();
            self.seen = now;
        }
    }

    /// How far the clock is behind, when it is.
    pub(super) fn behind(&self) -> Option<Span> {
        self.behind
    }

    pub(super) fn issue_run(
        &mut self,
        grant: RunGrant,
        fresh: &Fresh,
        now: Moment,
    ) -> Result<TokenStatus, VaultError> {
        self.trust_clock()?;
        check_ttl(grant.ttl)?;
        let (run, tier) = (grant.run, grant.tier);
        let ends = later(now, grant.ttl);
        self.add(
            fresh,
            Row {
                hash: hash(&fresh.token),
                run,
                agent: None,
                tier,
                parent: None,
                ends,
                last: None,
                renewals: 0,
            },
        )?;
        self.lookup(&fresh.accessor, now)
    }

    pub(super) fn issue_child(
        &mut self,
        parent: &Token,
        grant: ChildGrant,
        fresh: &Fresh,
        now: Moment,
    ) -> Result<TokenStatus, VaultError> {
        self.trust_clock()?;
        check_ttl(grant.ttl)?;
        let (accessor, row) = self.alive(parent)?;
        let (accessor, run, most, ends) = (accessor.clone(), row.run, row.tier, row.ends);
        if row.agent.is_some() {
            return Err(VaultError::Denied { doing: "issue a token" });
        }
        if grant.tier > most {
            return Err(VaultError::Wider { asked: grant.tier, most });
        }
        within(grant.ttl, left(ends, now))?;
        let row = Row {
            hash: hash(&fresh.token),
            run,
            agent: Some(grant.agent),
            tier: grant.tier,
            parent: Some(accessor),
            ends: later(now, grant.ttl),
            last: Some(later(now, limits::LEASE_TTL)),
            renewals: 0,
        };
        self.add(fresh, row)?;
        self.lookup(&fresh.accessor, now)
    }

    pub(super) fn lookup(&self, accessor: &Accessor, now: Moment) -> Result<TokenStatus, VaultError> {
        self.trust_clock()?;
        let row = self.row(accessor)?;
        Ok(status(accessor, row, now))
    }

    pub(super) fn renew(
        &mut self,
        accessor: &Accessor,
        ttl: Span,
        now: Moment,
    ) -> Result<TokenStatus, VaultError> {
        self.trust_clock()?;
        check_ttl(ttl)?;
        let row = self.row(accessor)?;
        if let Some(parent) = &row.parent {
            within(ttl, left(self.row(parent)?.ends, now))?;
        }
        let row = self.tokens.get_mut(accessor).expect("it was just found");
        let asked = later(now, ttl);
        row.ends = row.last.map_or(asked, |last| earlier(asked, last));
        row.renewals = row.renewals.saturating_add(1);
        self.lookup(accessor, now)
    }

    /// Ends a token and its children. This needs no clock that can be trusted: it takes authority and gives none.
    pub(super) fn revoke(&mut self, accessor: &Accessor) {
        self.end(BTreeSet::from([accessor.clone()]), Ending::Revoked);
    }

    pub(super) fn find(&self, run: Option<RunId>, now: Moment) -> Vec<TokenStatus> {
        let wanted = |(_, row): &(&Accessor, &Row)| run.is_none_or(|run| row.run == run);
        self.tokens.iter().filter(wanted).map(|(accessor, row)| status(accessor, row, now)).collect()
    }

    fn add(&mut self, fresh: &Fresh, row: Row) -> Result<(), VaultError> {
        if self.tokens.len() >= limits::VAULT_TOKENS {
            return Err(VaultError::TooMuch { what: "tokens", most: limits::VAULT_TOKENS });
        }
        self.tokens.insert(fresh.accessor.clone(), row);
        Ok(())
    }

    /// Ends tokens and their children; what is over already stays as it is.
    fn end(&mut self, mut accessors: BTreeSet<Accessor>, how: Ending) {
        while !accessors.is_empty() {
            for accessor in &accessors {
                let Some(row) = self.tokens.remove(accessor) else { continue };
                self.ended.push_back(Ended { accessor: accessor.clone(), hash: row.hash, how });
            }
            let is_child = |(_, row): &(&Accessor, &Row)| {
                row.parent.as_ref().is_some_and(|parent| accessors.contains(parent))
            };
            accessors = self.tokens.iter().filter(is_child).map(|(accessor, _)| accessor.clone()).collect();
        }
        let past = self.ended.len().saturating_sub(limits::VAULT_REMEMBERED);
        self.ended.drain(..past);
    }

    fn row(&self, accessor: &Accessor) -> Result<&Row, VaultError> {
        self.tokens.get(accessor).ok_or_else(|| {
            let ended = self.ended.iter().rev().find(|ended| ended.accessor == *accessor);
            VaultError::Ended { how: ended.map_or(Ending::Unknown, |ended| ended.how) }
        })
    }

    pub(super) fn alive(&self, token: &Token) -> Result<(&Accessor, &Row), VaultError> {
        let hash = hash(token);
        self.tokens.iter().find(|(_, row)| row.hash == hash).ok_or_else(|| {
            let ended = self.ended.iter().rev().find(|ended| ended.hash == hash);
            VaultError::Ended { how: ended.map_or(Ending::Unknown, |ended| ended.how) }
        })
    }

    pub(super) fn trust_clock(&self) -> Result<(), VaultError> {
        match self.behind {
            Some(by) => Err(VaultError::ClockBehind { by }),
            None => Ok(()),
        }
    }
}

fn status(accessor: &Accessor, row: &Row, now: Moment) -> TokenStatus {
    TokenStatus {
        accessor: accessor.clone(),
        run: row.run,
        agent: row.agent,
        tier: row.tier,
        policies: vec![policy_of(row)],
        ttl: left(row.ends, now),
        renewals: row.renewals,
    }
}

/// A run's token has the one policy, an agent's that of its tier.
pub(super) fn policy_of(row: &Row) -> String {
    if row.agent.is_some() { policy::tier_policy(row.tier) } else { policy::PIPELINE_AGENT.to_owned() }
}

pub(super) fn hash(token: &Token) -> Digest {
    Digest::of(token.expose().as_bytes())
}

fn within(asked: Span, left: Span) -> Result<(), VaultError> {
    if asked > left { Err(VaultError::OutlivesParent { asked, left }) } else { Ok(()) }
}

pub(super) fn later(now: Moment, span: Span) -> Moment {
    let wall = now.wall.millis().saturating_add(i64::try_from(span.millis()).unwrap_or(i64::MAX));
    Moment { ledger: now.ledger.after(span), wall: Timestamp::from_millis(wall) }
}

fn earlier(a: Moment, b: Moment) -> Moment {
    Moment { ledger: a.ledger.min(b.ledger), wall: a.wall.min(b.wall) }
}

/// An end has come when either time says so: the one that runs while the machine works, or the one that goes on while it
/// sleeps.
fn is_over(ends: Moment, now: Moment) -> bool {
    now.ledger >= ends.ledger || now.wall >= ends.wall
}

fn left(ends: Moment, now: Moment) -> Span {
    let wall = ends.wall.millis().saturating_sub(now.wall.millis()).max(0).unsigned_abs();
    ends.ledger.since(now.ledger).min(Span::from_millis(wall))
}
