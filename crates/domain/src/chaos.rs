//! What the proving ground can do to a live system.

use crate::wire::wire_enum;

wire_enum! {
    /// A fault that can be injected by name (R017, 1.7).
    ChaosCondition ("chaos condition") {
        /// An agent's lock is taken away.
        LockLoss = "LOCK_LOSS",
        /// An agent reports many errors at once.
        ErrorSpike = "ERROR_SPIKE",
        /// Heartbeats stop arriving.
        HeartbeatLoss = "HEARTBEAT_LOSS",
        /// An agent's process dies.
        AgentCrash = "AGENT_CRASH",
        /// An agent slows down.
        SlowAgent = "SLOW_AGENT",
        /// A token expires early.
        TokenExpired = "TOKEN_EXPIRED",
        /// A token is revoked.
        TokenRevoked = "TOKEN_REVOKED",
        /// The secrets provider is away.
        SecretsDown = "SECRETS_DOWN",
        /// The state store is away.
        StateStoreDown = "STATE_STORE_DOWN",
        /// The ledger's disk returns errors.
        LedgerIoError = "LEDGER_IO_ERROR",
        /// The disk is full.
        DiskFull = "DISK_FULL",
        /// The wall clock jumps.
        ClockSkew = "CLOCK_SKEW",
        /// A message is lost.
        MessageLoss = "MESSAGE_LOSS",
        /// A message arrives twice.
        MessageDuplicate = "MESSAGE_DUPLICATE",
        /// Two parts cannot reach each other.
        Partition = "PARTITION",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r017_fifteen_conditions_are_found_by_name() {
        assert_eq!(ChaosCondition::ALL.len(), 15);
        for condition in ChaosCondition::ALL {
            assert_eq!(condition.as_str().parse::<ChaosCondition>().unwrap(), *condition);
        }
    }
}
