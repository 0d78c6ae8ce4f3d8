//! What holds of leases and tokens: none is alive past its time, none after what it is for has ended, and none is wider than
//! what it comes from.

use eparch_domain::{AgentId, Moment, Span, limits};
use eparch_governor::{Decision, Fact};

use crate::seen::Seen;

fn is_over(expires: Moment, now: Moment) -> bool {
    now.ledger >= expires.ledger || now.wall >= expires.wall
}

/// Whether an end is at most so far away, by both times.
fn is_within(expires: Moment, now: Moment, most: Span) -> bool {
    let wall = expires.wall.millis().saturating_sub(now.wall.millis());
    expires.ledger <= now.ledger.after(most) && wall <= most.millis().cast_signed()
}

/// What a fact about authority may follow on.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn before(seen: &Seen, fact: &Fact, now: Moment) -> Result<(), String> {
    let wrong = match fact {
        Fact::LeaseBegan { run, expires, .. } => match seen.leases.get(run) {
            Some(_) => Some("a run has two leases"),
            None if seen.runs.get(run).is_none_or(|status| status.is_terminal()) => {
                Some("a run that has ended has a lease")
            }
            None if !is_within(*expires, now, limits::LEASE_TTL) => Some("a lease is longer than it may be"),
            None => None,
        },
        Fact::LeaseRenewed { run, lease, expires, .. } => match seen.leases.get(run) {
            Some(held) if held.lease != *lease => Some("another lease was renewed than is held"),
            Some(held) if is_over(held.expires, now) => Some("a lease was renewed past its time"),
            Some(_) if !is_within(*expires, now, limits::LEASE_TTL) => {
                Some("a lease is longer than it may be")
            }
            Some(_) => None,
            None => Some("a lease that nobody has was renewed"),
        },
        Fact::LeaseEnded { run, lease, .. }
            if seen.leases.get(run).is_none_or(|held| held.lease != *lease) =>
        {
            Some("a lease ended that nobody has")
        }
        Fact::TokenIssued { agent, lease, expires, .. } => {
            issued(seen, *agent, now, *expires, |held| held == *lease)
        }
        Fact::TokenRenewed { agent, round, expires, .. } => match seen.token(*agent) {
            Some(token) if token.round != *round => Some("another token was renewed than is held"),
            Some(token) if is_over(token.expires, now) => Some("a token was renewed past its time"),
            Some(token)
                if !is_within(
                    *expires,
                    Moment { ledger: token.issued, wall: now.wall },
                    limits::LEASE_TTL,
                ) =>
            {
                Some("a token lives for more than two hours")
            }
            Some(token) => issued(seen, *agent, now, *expires, |held| held == token.lease),
            None => Some("a token that nobody has was renewed"),
        },
        // Whatever it asked for, its token was over (X15).
        Fact::ActionDecided(ruled) => used(seen, ruled.agent, now),
        Fact::PermitSpent { agent, .. }
        | Fact::ActionEnded { agent, .. }
        | Fact::ErrorCounted { agent, .. } => used(seen, *agent, now),
        _ => None,
    };
    wrong.map_or(Ok(()), |why| Err(format!("{why}: {fact:?}")))
}

fn used(seen: &Seen, agent: AgentId, now: Moment) -> Option<&'static str> {
    let over = seen.token(agent).is_some_and(|token| is_over(token.expires, now));
    over.then_some("something counts that an agent did with a token past its time")
}

fn issued(
    seen: &Seen,
    agent: AgentId,
    now: Moment,
    expires: Moment,
    is_held: impl Fn(eparch_domain::LeaseId) -> bool,
) -> Option<&'static str> {
    let Some(of) = seen.agents.get(&agent).filter(|of| of.has_authority()) else {
        return Some("an agent without authority has a token");
    };
    match seen.leases.get(&of.run) {
        Some(held) if !is_held(held.lease) => Some("a token is of a lease that its run does not have"),
        Some(held) if is_over(held.expires, now) => Some("a token is of a lease past its time"),
        Some(held) if expires.ledger > held.expires.ledger || expires.wall > held.expires.wall => {
            Some("a token outlives its lease")
        }
        Some(_) if !is_within(expires, now, limits::CHILD_TTL) => Some("a token is longer than it may be"),
        Some(_) => None,
        None => Some("a token is of a lease that its run does not have"),
    }
}

/// What holds when a decision is whole: leases are held for those who work, tokens by them, and neither past its time, wherever
/// the wall clock has gone meanwhile (F17).
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn standing(seen: &Seen, decision: &Decision, now: Moment) -> Result<(), String> {
    for (run, held) in &seen.leases {
        let works = seen.alive().any(|(_, of)| of.run == *run && !of.cut_off);
        if !works || seen.runs.get(run).is_none_or(|status| status.is_terminal()) {
            return Err(format!("{run} has a lease and nobody works"));
        }
        if seen.doubted && decision.facts.iter().any(|fact| matches!(fact, Fact::LeaseBegan { .. })) {
            return Err(format!("{run} has a lease although nobody believes the clock"));
        }
        if is_over(held.expires, now) {
            return Err(format!("the lease of {run} is alive past its time"));
        }
        if held.renew_at <= now.ledger {
            return Err(format!("the lease of {run} should have been renewed"));
        }
    }
    for (agent, _) in seen.alive() {
        if seen.token(agent).is_some_and(|token| is_over(token.expires, now)) {
            return Err(format!("the token of {agent} is alive past its time"));
        }
    }
    Ok(())
}
