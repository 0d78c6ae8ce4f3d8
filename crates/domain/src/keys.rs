//! Every key of the state store, once (R031); the seeds' `RedisKeys`. Nothing else builds a key.
//!
//! A key's parts are [`Name`]s, which cannot hold a separator or a wildcard (R035).

use crate::name::Name;

macro_rules! keys {
    ( $( $(#[$meta:meta])* $function:ident ( $argument:ident ) = $before:literal, $after:literal; )+ ) => { $(
        $(#[$meta])*
        pub fn $function($argument: &Name) -> String {
            format!(concat!($before, "{}", $after), $argument)
        }
    )+
    #[cfg(test)]
    const PATTERNS: &[(&str, fn(&Name) -> String, &str, &str)] = &[ $( (stringify!($function), $function, $before, $after) ),+ ];
    };
}

keys! {
    /// An agent's state (R032).
    agent_state(agent) = "agent:", ":state";
    /// An agent's execution lock (R033).
    agent_lock(agent) = "agent:", ":lock";
    /// The signal that an agent was revoked (R077).
    agent_revoke_signal(agent) = "agent:", ":revoke_signal";
    /// When an agent last said that it lives.
    agent_heartbeat(agent) = "agent:", ":heartbeat";
    /// An agent's errors.
    agent_errors(agent) = "agent:", ":errors";
    /// An agent's instruction packet.
    agent_packet(agent) = "agent:", ":packet";
    /// An agent's budget.
    agent_budget(agent) = "agent:", ":budget";
    /// An agent's metrics.
    agent_metrics(agent) = "agent:", ":metrics";
    /// The agents of a project (R034).
    project_agents(project) = "project:", ":agents";
    /// Whether a project's agents are ready.
    project_readiness(project) = "project:", ":readiness";
    /// What a project's agents work towards.
    project_objective(project) = "project:", ":objective";
    /// A run's sealed token (R137).
    pipeline_vault_token(run) = "pipeline:", ":vault_token";
    /// A run's state.
    pipeline_state(run) = "pipeline:", ":state";
    /// A run's agents.
    pipeline_agents(run) = "pipeline:", ":agents";
    /// A run's hand-off.
    pipeline_handoff(run) = "pipeline:", ":handoff";
    /// What went wrong before, for the next attempt (R155).
    pipeline_failure_context(run) = "pipeline:", ":failure_context";
    /// A run's automatic recoveries.
    pipeline_recovery(run) = "pipeline:", ":recovery";
    /// A run's errors.
    pipeline_errors(run) = "pipeline:", ":errors";
    /// A run's log.
    pipeline_log(run) = "pipeline:", ":log";
    /// The problem on a blackboard.
    blackboard_problem(run) = "blackboard:", ":problem";
    /// The solutions on a blackboard.
    blackboard_solutions(run) = "blackboard:", ":solutions";
    /// The progress on a blackboard.
    blackboard_progress(run) = "blackboard:", ":progress";
    /// The consensus on a blackboard.
    blackboard_consensus(run) = "blackboard:", ":consensus";
    /// The votes for a proposal.
    votes(proposal) = "votes:", "";
    /// The channel of a run's messages.
    bus(run) = "bus:", "";
    /// A circuit breaker's state.
    breaker(scope) = "breaker:", "";
    /// A lock on a resource.
    lock(resource) = "lock:", "";
}

/// Every revocation, in order (R078).
pub const REVOCATIONS_LEDGER: &str = "revocations:ledger";
/// Alerts for people (R079).
pub const ALERTS_QUEUE: &str = "alerts:queue";
/// The channel of live events.
pub const WS_BROADCAST: &str = "ws:broadcast";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn r032_r033_r034_the_seeds_examples() {
        assert_eq!(agent_state(&name("agent-001")), "agent:agent-001:state");
        assert_eq!(agent_lock(&name("agent-001")), "agent:agent-001:lock");
        assert_eq!(project_agents(&name("proj-001")), "project:proj-001:agents");
    }

    #[test]
    fn r031_no_two_builders_make_one_key() {
        let mut keys: Vec<_> = PATTERNS.iter().map(|(_, build, _, _)| build(&name("x"))).collect();
        keys.extend([REVOCATIONS_LEDGER, ALERTS_QUEUE, WS_BROADCAST].map(str::to_owned));
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        for (function, build, before, after) in PATTERNS {
            assert_eq!(build(&name("a-1")), format!("{before}a-1{after}"), "{function}");
        }
    }
}
