//! How things stand: agents, stages and runs, each with its own list of states (X08).

use crate::wire::wire_enum;

wire_enum! {
    /// How an agent stands, derivable from its events (R016).
    AgentStatus ("agent status") {
        /// Decided on, not yet started.
        Pending = "PENDING",
        /// Working.
        Running = "RUNNING",
        /// Waiting for something outside itself: a gate, a permit, a retry's backoff.
        Waiting = "WAITING",
        /// Held by a person.
        Paused = "PAUSED",
        /// Ended well.
        Completed = "COMPLETED",
        /// Ended badly.
        Failed = "FAILED",
        /// Ended by a timeout.
        TimedOut = "TIMED_OUT",
        /// Its authority was taken away.
        Revoked = "REVOKED",
    }
}

wire_enum! {
    /// What kind of stage it is (R018).
    StageKind ("stage type") {
        /// Runs an agent.
        Agent = "agent",
        /// Waits for people, or for consensus.
        Gate = "gate",
        /// Runs branches side by side.
        Parallel = "parallel",
        /// Chooses one of two lists of stages.
        Condition = "condition",
    }
}

wire_enum! {
    /// How a stage stands (R019).
    StageStatus ("stage status") {
        /// What it requires has not ended.
        Pending = "PENDING",
        /// May start; waits for a free place or for a retry's backoff.
        Ready = "READY",
        /// Working.
        Running = "RUNNING",
        /// Waiting for an approval or for consensus.
        AwaitingApproval = "AWAITING_APPROVAL",
        /// Ended well.
        Completed = "COMPLETED",
        /// Ended badly.
        Failed = "FAILED",
        /// Never started: its branch was not taken, or what it requires did not complete.
        Skipped = "SKIPPED",
        /// Ended by a timeout.
        TimedOut = "TIMED_OUT",
        /// Ended because the run, or the branch around it, was ended.
        Cancelled = "CANCELLED",
    }
}

impl StageStatus {
    /// True when nothing more will happen to the stage.
    pub fn is_terminal(self) -> bool {
        use StageStatus::{Cancelled, Completed, Failed, Skipped, TimedOut};
        matches!(self, Completed | Failed | Skipped | TimedOut | Cancelled)
    }
}

wire_enum! {
    /// How a run stands (1.7); on the wire a run is a `pipeline` and old spellings are accepted (X11).
    RunStatus ("pipeline status") {
        /// Accepted and written down.
        Spawned = "SPAWNED" | "SPAWN",
        /// Stages are being worked on.
        Running = "RUNNING",
        /// The report is ready.
        Report = "REPORT",
        /// Several agents work towards consensus.
        Orchestrating = "ORCHESTRATING" | "ORCHESTRATE" | "AUTO-ORCHESTRATE",
        /// Ended well.
        Completed = "COMPLETED" | "COMPLETE",
        /// Ended badly.
        Failed = "FAILED",
        /// Ended by the pipeline's deadline.
        Timeout = "TIMEOUT",
        /// Orchestration ended with an error (X10).
        OrchestrationFailed = "ORCHESTRATION_FAILED",
        /// Orchestration could not be carried out (X10).
        OrchestrationError = "ORCHESTRATION_ERROR",
        /// An automatic recovery is under way (X10).
        Rebooting = "REBOOTING",
        /// Given up after automatic recovery (X10).
        Aborted = "ABORTED",
        /// Ended by a person.
        Stopped = "STOPPED",
    }
}

impl RunStatus {
    /// True when nothing more will happen to the run.
    pub fn is_terminal(self) -> bool {
        use RunStatus::{
            Aborted, Completed, Failed, OrchestrationError, OrchestrationFailed, Stopped, Timeout,
        };
        matches!(
            self,
            Completed | Failed | Timeout | Stopped | Aborted | OrchestrationFailed | OrchestrationError
        )
    }

    /// The exit code of a command that waited for this run (interface.md 1): 0 completed, 1 failed or timed out,
    /// 3 stopped or aborted; `None` while the run has not ended.
    pub fn exit_code(self) -> Option<u8> {
        match self {
            RunStatus::Completed => Some(0),
            RunStatus::Stopped | RunStatus::Aborted => Some(3),
            status if status.is_terminal() => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r016_r018_r019_names_round_trip() {
        for status in AgentStatus::ALL {
            assert_eq!(status.as_str().parse::<AgentStatus>().unwrap(), *status);
        }
        for kind in StageKind::ALL {
            assert_eq!(kind.as_str().parse::<StageKind>().unwrap(), *kind);
        }
        for status in StageStatus::ALL {
            assert_eq!(status.as_str().parse::<StageStatus>().unwrap(), *status);
        }
        assert!("STARTED".parse::<AgentStatus>().is_err());
        assert!("loop".parse::<StageKind>().is_err());
    }

    #[test]
    fn x11_old_spellings_are_read_and_never_written() {
        assert_eq!("COMPLETE".parse::<RunStatus>().unwrap().as_str(), "COMPLETED");
        assert_eq!("SPAWN".parse::<RunStatus>().unwrap().as_str(), "SPAWNED");
        assert_eq!("AUTO-ORCHESTRATE".parse::<RunStatus>().unwrap().as_str(), "ORCHESTRATING");
    }

    #[test]
    fn every_ended_run_has_an_exit_code_and_no_other() {
        for status in RunStatus::ALL {
            assert_eq!(status.exit_code().is_some(), status.is_terminal(), "{status}");
        }
        assert_eq!(RunStatus::Timeout.exit_code(), Some(1));
        assert_eq!(RunStatus::Stopped.exit_code(), Some(3));
    }
}
