//! What facts about leases, tokens and the clock make so.

use crate::credential::Known;
use crate::fact::Fact;
use crate::governor::Governor;
use crate::lease::{AgentToken, Lease};
use crate::timers::Timer;
use eparch_domain::{AgentId, Moment};
use std::sync::Arc;

/// Makes one such fact so; any other is none of these.
pub(super) fn apply(governor: &mut Governor, fact: &Fact, now: Moment) {
    match fact {
        Fact::LeaseBegan { run, lease, round, expires, renew_at } => {
            let held = Lease { lease: *lease, expires: *expires, renew_at: *renew_at, renewals: 0 };
            governor.state.leases.held.insert(*run, held);
            if let Some(live) = governor.state.runs.get_mut(run) {
                Arc::make_mut(live).leases_begun = *round;
            }
            governor.timers.set(Timer::Lease(*run), *renew_at);
        }
        Fact::LeaseRenewed { run, expires, renew_at, .. } => {
            if let Some(held) = governor.state.leases.held.get_mut(run) {
                (held.expires, held.renew_at) = (*expires, *renew_at);
                held.renewals = held.renewals.saturating_add(1);
            }
            governor.timers.set(Timer::Lease(*run), *renew_at);
        }
        Fact::LeaseEnded { run, .. } => {
            governor.state.leases.held.remove(run);
            governor.timers.clear(Timer::Lease(*run));
        }
        Fact::TokenIssued { agent, lease, round, token, expires, renew_at } => {
            if let Some(attempt) = governor.attempt_mut(*agent) {
                attempt.token = Some(AgentToken {
                    lease: *lease,
                    round: *round,
                    hash: *token,
                    issued: now.ledger,
                    expires: *expires,
                    renew_at: *renew_at,
                    renewals: 0,
                });
                governor.timers.set(Timer::Token(*agent), *renew_at);
            }
        }
        Fact::TokenRenewed { agent, expires, renew_at, .. } => {
            if let Some(token) = governor.attempt_mut(*agent).and_then(|attempt| attempt.token.as_mut()) {
                (token.expires, token.renew_at) = (*expires, *renew_at);
                token.renewals = token.renewals.saturating_add(1);
                governor.timers.set(Timer::Token(*agent), *renew_at);
            }
        }
        Fact::CredentialKnown { accessor, run, lease, agent, round, at } => {
            let agent = agent.map(|agent| (agent, *round));
            let known = Known { run: *run, lease: *lease, agent, at: at.clone() };
            governor.state.leases.credentials.insert(accessor.clone(), known);
        }
        Fact::CredentialEnding(credential) => {
            governor.state.leases.let_go(&credential.accessor);
            governor.state.leases.to_end.insert(credential.accessor.clone(), credential.clone());
            governor.state.leases.to_end_since.insert(credential.accessor.clone(), now.ledger);
        }
        Fact::CredentialEnded { accessor } => {
            governor.state.leases.to_end.remove(accessor);
            governor.state.leases.to_end_since.remove(accessor);
        }
        Fact::EndingGoesOn { after, again_at } => {
            governor.state.leases.ending = after.clone().zip(*again_at);
            match again_at {
                Some(at) => governor.timers.set(Timer::Ending, *at),
                None => governor.timers.clear(Timer::Ending),
            }
        }
        Fact::ClockSetBack { seen } => governor.state.leases.wall_seen = Some(*seen),
        Fact::ClockDoubted { until, look_at } => {
            governor.state.leases.doubt = Some((*until, *look_at));
            governor.timers.set(Timer::Clock, *look_at);
        }
        Fact::ClockTrusted { .. } => {
            (governor.state.leases.wall_seen, governor.state.leases.doubt) = (None, None);
            governor.timers.clear(Timer::Clock);
        }
        _ => {}
    }
}

/// Nothing an agent asks for counts any more.
pub(super) fn take_token(governor: &mut Governor, agent: AgentId) {
    if let Some(attempt) = governor.attempt_mut(agent) {
        attempt.token = None;
    }
    governor.timers.clear(Timer::Token(agent));
}
