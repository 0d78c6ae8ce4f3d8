//! The life of an agent: eight phases in order, and REVOKED.

use crate::wire::wire_enum;

wire_enum! {
    /// Where an agent is in its life (R002). The derived order is the lifecycle order.
    Phase ("agent phase") {
        /// The agent is created and authenticated.
        Bootstrap = "BOOTSTRAP",
        /// Sandbox, inventory and dependencies are checked.
        Preflight = "PREFLIGHT",
        /// What will be done is settled and validated.
        Plan = "PLAN",
        /// The planned actions are performed, and no others.
        Execute = "EXECUTE",
        /// The results are checked.
        Verify = "VERIFY",
        /// Artifacts and evidence are bundled; never skipped.
        Package = "PACKAGE",
        /// The completion report is written.
        Report = "REPORT",
        /// Everything the agent held is released.
        Exit = "EXIT",
        /// The agent's authority was taken away; terminal, without output.
        Revoked = "REVOKED",
    }
}

/// All nine phase names (R025).
pub const AGENT_PHASE_NAMES: &[&str] = Phase::NAMES;

/// The eight phases of a full life, in order (R026).
pub const AGENT_PHASES_ORDERED: [Phase; 8] = [
    Phase::Bootstrap,
    Phase::Preflight,
    Phase::Plan,
    Phase::Execute,
    Phase::Verify,
    Phase::Package,
    Phase::Report,
    Phase::Exit,
];

/// The grade of what each phase puts out (R013, R027); total over [`Phase`].
pub const PHASE_OUTPUT_TYPES: [(Phase, Option<Grade>); 9] = [
    (Phase::Bootstrap, Some(Grade::Draft)),
    (Phase::Preflight, Some(Grade::Draft)),
    (Phase::Plan, Some(Grade::Refined)),
    (Phase::Execute, Some(Grade::Refined)),
    (Phase::Verify, Some(Grade::Final)),
    (Phase::Package, Some(Grade::Final)),
    (Phase::Report, Some(Grade::Final)),
    (Phase::Exit, Some(Grade::Final)),
    (Phase::Revoked, None),
];

impl Phase {
    /// The phase after this one; `None` for EXIT and REVOKED (R038, the seeds' `next_phase`).
    pub fn next(self) -> Option<Phase> {
        let place = AGENT_PHASES_ORDERED.iter().position(|phase| *phase == self)?;
        AGENT_PHASES_ORDERED.get(place + 1).copied()
    }

    /// True for EXIT and REVOKED (R037, the seeds' `is_terminal_phase`).
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Exit | Phase::Revoked)
    }

    /// The grade of this phase's output; `None` for REVOKED (R036, the seeds' `get_output_type_for_phase`).
    pub fn grade(self) -> Option<Grade> {
        PHASE_OUTPUT_TYPES.iter().find(|(phase, _)| *phase == self).and_then(|(_, grade)| *grade)
    }

    /// Whether an agent may go from this phase to `to`: one step forward, or REVOKED from any phase that has not
    /// ended (R003, R012).
    pub fn may_become(self, to: Phase) -> bool {
        match to {
            Phase::Revoked => !self.is_terminal(),
            to => self.next() == Some(to),
        }
    }
}

wire_enum! {
    /// How finished an output is (R014): the seeds' output types Alpha, Beta, Gamma.
    Grade ("output type") {
        /// A plan or an analysis, not yet checked.
        Draft = "alpha",
        /// A validated plan or a partial result.
        Refined = "beta",
        /// Completed work, a verified result.
        Final = "gamma",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r002_r025_phase_names_round_trip_and_unknown_names_are_errors() {
        let names =
            ["BOOTSTRAP", "PREFLIGHT", "PLAN", "EXECUTE", "VERIFY", "PACKAGE", "REPORT", "EXIT", "REVOKED"];
        assert_eq!(AGENT_PHASE_NAMES, names);
        for name in names {
            let phase: Phase = serde_json::from_value(name.into()).unwrap();
            assert_eq!(serde_json::to_value(phase).unwrap(), name);
        }
        assert!(serde_json::from_str::<Phase>("\"execute\"").is_err());
    }

    #[test]
    fn r003_r012_transition_matrix_allows_the_seven_steps_and_revocation_only() {
        let mut allowed = Vec::new();
        for from in Phase::ALL {
            for to in Phase::ALL {
                if from.may_become(*to) {
                    allowed.push((*from, *to));
                }
            }
        }
        let steps = AGENT_PHASES_ORDERED.windows(2).map(|pair| (pair[0], pair[1]));
        let revocations = AGENT_PHASES_ORDERED[..7].iter().map(|phase| (*phase, Phase::Revoked));
        let mut expected: Vec<_> = steps.chain(revocations).collect();
        expected.sort();
        allowed.sort();
        assert_eq!(allowed, expected);
    }

    #[test]
    fn r013_r027_r036_grade_per_phase() {
        use Grade::{Draft, Final, Refined};
        let expected = [Draft, Draft, Refined, Refined, Final, Final, Final, Final].map(Some);
        assert_eq!(AGENT_PHASES_ORDERED.map(Phase::grade), expected);
        assert_eq!(Phase::Revoked.grade(), None);
        assert_eq!(PHASE_OUTPUT_TYPES.map(|(phase, _)| phase).as_slice(), Phase::ALL);
    }

    #[test]
    fn r014_grades_have_the_seeds_names_and_order() {
        assert_eq!(Grade::NAMES, ["alpha", "beta", "gamma"]);
        assert!(Grade::Draft < Grade::Refined && Grade::Refined < Grade::Final);
    }

    #[test]
    fn r026_r037_r038_order_and_ends() {
        let nexts: Vec<_> = AGENT_PHASES_ORDERED.iter().map(|phase| phase.next()).collect();
        let mut expected: Vec<_> = AGENT_PHASES_ORDERED[1..].iter().copied().map(Some).collect();
        expected.push(None);
        assert_eq!(nexts, expected);
        assert_eq!(Phase::Revoked.next(), None);
        let ends: Vec<_> = Phase::ALL.iter().filter(|phase| phase.is_terminal()).collect();
        assert_eq!(ends, [&Phase::Exit, &Phase::Revoked]);
    }
}
