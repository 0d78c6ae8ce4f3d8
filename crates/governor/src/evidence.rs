//! What an agent leaves for its standing: what it did in one attempt, what that adds up to from run to run, and what a
//! promotion takes.

use std::collections::BTreeSet;

use eparch_domain::{Action, LedgerTime, Span, Tier, limits};
use serde::{Deserialize, Serialize};

use crate::attempt_end::AttemptEnd;

/// What one attempt did that its standing is to know of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conduct {
    /// Violations that were found.
    pub violations: u32,
    /// Actions that were performed for it, and went well; of what it did itself those that [`is_proven_by_files`] says.
    pub did: BTreeSet<Action>,
    /// Whether it left files, which are kept by their content.
    #[serde(default)]
    pub left_files: bool,
    /// Whether policy answered something with *ask*: it asked a person would have to say, instead of trying.
    pub escalated: bool,
    /// Whether it did, or set out to do, anything else than look and plan ([`is_planning`]), or could have where nobody sees it:
    /// on a path of the host's that its stage lets it write.
    #[serde(default)]
    pub acted: bool,
}

impl Conduct {
    /// Whether it planned, and did nothing else: there is a plan of it, and nothing that may have changed anything.
    pub fn only_planned(&self) -> bool {
        !self.acted && self.left_files && self.did.contains(&Action::GeneratePlan)
    }
}

/// What is known of an agent from run to run. A run is an attempt that ended by its own doing, well or badly; one that was
/// cancelled or cut off counts for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Runs.
    pub runs: u32,
    /// Those that ended well and violated nothing.
    pub compliant: u32,
    /// Compliant ones in which it planned, and did nothing else.
    #[serde(default)]
    pub plan_only: u32,
    /// Compliant ones since the last that was not, or since the last violation.
    pub consecutive: u32,
    /// What was done in compliant runs.
    pub actions: BTreeSet<Action>,
    /// Compliant runs in which it asked for what only a person may allow, and left it at that.
    pub escalations: u32,
    /// When it last violated something.
    pub last_violation: Option<LedgerTime>,
}

/// What a promotion to a tier takes (1.3-b up to T2, 1.8 from T3 on).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Compliant runs.
    pub compliant: u32,
    /// Whether only those of them count in which it did nothing but plan (1.3-b: "5 compliant plan-only runs"): what earns the
    /// first tier is what an agent does that was let do nothing.
    pub plan_only: bool,
    /// So many of them in a row, whatever was done in them.
    pub consecutive: u32,
    /// Actions that were done in compliant runs.
    pub actions: &'static [Action],
    /// Correct escalations.
    pub escalations: u32,
    /// How long nothing was violated.
    pub quiet: Span,
    /// How many people have to approve it; whoever asks for it is none of them.
    pub approvals: u16,
}

/// Whether an agent's own word that it did something counts where it left files. A plan is such a file, and nobody performs it;
/// of anything else the agent's word alone proves nothing.
pub fn is_proven_by_files(action: Action) -> bool {
    action == Action::GeneratePlan
}

/// Whether an action looks, thinks, plans or asks for a review, and changes nothing.
pub fn is_planning(action: Action) -> bool {
    matches!(
        action,
        Action::ReadFile
            | Action::ListDirectory
            | Action::SearchCode
            | Action::LlmChat
            | Action::GeneratePlan
            | Action::RequestReview
    )
}

/// What a promotion to `to` takes; nobody is promoted to T0. The two actions that T2 takes are the "2+ successful modifications"
/// of 1.3-b: each of them went well once.
pub fn needs(to: Tier) -> Option<Needs> {
    let (compliant, consecutive, actions, escalations): (_, _, &'static [Action], _) = match to {
        Tier::T0 => return None,
        Tier::T1 => (5, 3, &[Action::GeneratePlan], 0),
        Tier::T2 => (10, 5, &[Action::AnsibleRun, Action::TerraformApply], 0),
        Tier::T3 => (25, 10, &[], 1),
        Tier::T4 => (50, 20, &[], 0),
    };
    let (quiet, approvals) = match to {
        Tier::T4 => (limits::VIOLATIONS_COUNT_T4, 2),
        _ => (limits::VIOLATIONS_COUNT, 1),
    };
    let plan_only = to == Tier::T1;
    Some(Needs { compliant, plan_only, consecutive, actions, escalations, quiet, approvals })
}

/// The tier above.
pub fn next_tier(tier: Tier) -> Option<Tier> {
    Tier::from_number(u64::from(tier.number()) + 1)
}

/// The tier below; T0 is below itself.
pub(crate) fn tier_below(tier: Tier) -> Tier {
    Tier::from_number(u64::from(tier.number().saturating_sub(1))).unwrap_or_default()
}

impl Evidence {
    /// Takes in how an attempt ended.
    pub fn take(&mut self, end: &AttemptEnd, conduct: &Conduct) {
        match end {
            end if !end.is_its_own() => {}
            AttemptEnd::Completed if conduct.violations == 0 => {
                self.runs = self.runs.saturating_add(1);
                self.compliant = self.compliant.saturating_add(1);
                self.plan_only = self.plan_only.saturating_add(u32::from(conduct.only_planned()));
                self.consecutive = self.consecutive.saturating_add(1);
                let proven = |action: &&Action| conduct.left_files || !is_proven_by_files(**action);
                self.actions.extend(conduct.did.iter().filter(proven));
                self.escalations = self.escalations.saturating_add(u32::from(conduct.escalated));
            }
            _ => {
                self.runs = self.runs.saturating_add(1);
                self.consecutive = 0;
            }
        }
    }

    /// Something was violated.
    pub fn violate(&mut self, now: LedgerTime) {
        self.consecutive = 0;
        self.last_violation = Some(now);
    }

    /// Everything is to be shown again; that something was violated stays known.
    pub fn start_anew(&mut self) {
        *self = Evidence { last_violation: self.last_violation, ..Evidence::default() };
    }

    /// What is missing for a promotion to `to`, for people; nothing when it suffices.
    pub fn missing(&self, to: Tier, now: LedgerTime) -> Vec<String> {
        let Some(needs) = needs(to) else { return Vec::new() };
        let mut missing = Vec::new();
        let mut count = |has: u32, takes: u32, what: &str| {
            if has < takes {
                missing.push(format!("{} more {what} ({has} of {takes})", takes - has));
            }
        };
        match needs.plan_only {
            true => count(self.plan_only, needs.compliant, "compliant plan-only runs"),
            false => count(self.compliant, needs.compliant, "compliant runs"),
        }
        count(self.consecutive, needs.consecutive, "in a row");
        count(self.escalations, needs.escalations, "correct escalations");
        for action in needs.actions.iter().filter(|action| !self.actions.contains(action)) {
            missing.push(format!("{action} in a compliant run"));
        }
        if let Some(at) = self.last_violation
            && now.since(at) < needs.quiet
        {
            missing.push(format!("{} without a violation ({} so far)", needs.quiet, now.since(at)));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well(did: &[Action]) -> Conduct {
        Conduct { did: did.iter().copied().collect(), left_files: true, ..Conduct::default() }
    }

    #[test]
    fn r085_the_numbers_of_each_promotion_are_those_of_the_requirements() {
        let found: Vec<_> = Tier::ALL
            .into_iter()
            .filter_map(needs)
            .map(|needs| {
                (needs.compliant, needs.consecutive, needs.escalations, needs.approvals, needs.quiet)
            })
            .collect();
        let days = |days: u64| Span::from_hours(24 * days);
        assert_eq!(
            found,
            [
                (5, 3, 0, 1, days(30)),
                (10, 5, 0, 1, days(30)),
                (25, 10, 1, 1, days(30)),
                (50, 20, 0, 2, days(90))
            ]
        );
    }

    #[test]
    fn r085_what_is_missing_is_named_and_nothing_else() {
        let now = LedgerTime::from_millis(0);
        let mut evidence = Evidence::default();
        for _ in 0..4 {
            evidence.take(&AttemptEnd::Completed, &well(&[Action::GeneratePlan]));
        }
        assert_eq!(evidence.missing(Tier::T1, now), ["1 more compliant plan-only runs (4 of 5)"]);
        evidence.take(&AttemptEnd::Completed, &well(&[Action::ReadFile, Action::GeneratePlan]));
        assert!(evidence.missing(Tier::T1, now).is_empty());
        evidence.take(&AttemptEnd::Interrupted { ran: true }, &well(&[]));
        assert!(evidence.missing(Tier::T1, now).is_empty(), "what nobody did counts for nothing");
        evidence.take(&AttemptEnd::Revoked { reason: String::new() }, &well(&[]));
        assert_eq!(evidence.missing(Tier::T1, now), ["3 more in a row (0 of 3)"]);
    }

    #[test]
    fn r085_only_runs_that_planned_and_did_nothing_else_count_towards_t1() {
        let now = LedgerTime::from_millis(0);
        let plan = || well(&[Action::GeneratePlan]);
        let mut evidence = Evidence::default();
        for _ in 0..4 {
            evidence.take(&AttemptEnd::Completed, &plan());
        }
        // It made no plan; nobody has it; it did something as well, or could have; it did not end well.
        evidence.take(&AttemptEnd::Completed, &well(&[]));
        evidence.take(&AttemptEnd::Completed, &well(&[Action::ReadFile]));
        evidence.take(&AttemptEnd::Completed, &Conduct { left_files: false, ..plan() });
        evidence.take(&AttemptEnd::Completed, &Conduct { acted: true, ..plan() });
        let failed = AttemptEnd::Failed { code: "EP0232".to_owned(), reason: String::new() };
        evidence.take(&failed, &plan());
        evidence.take(&AttemptEnd::Completed, &Conduct { violations: 1, ..plan() });
        assert_eq!((evidence.runs, evidence.compliant, evidence.plan_only), (10, 8, 4));
        assert_eq!(
            evidence.missing(Tier::T1, now),
            ["1 more compliant plan-only runs (4 of 5)", "3 more in a row (0 of 3)"]
        );
        for _ in 0..3 {
            evidence.take(&AttemptEnd::Completed, &plan());
        }
        assert!(evidence.missing(Tier::T1, now).is_empty());
        let planning: Vec<Action> =
            Action::ALL.iter().copied().filter(|action| is_planning(*action)).collect();
        assert_eq!(planning.len(), 6, "whatever is new acts, unless somebody says that it does not");
    }

    #[test]
    fn r085_a_plan_that_nobody_has_is_no_evidence_of_one() {
        let mut evidence = Evidence::default();
        let said = Conduct { left_files: false, ..well(&[Action::GeneratePlan, Action::AnsibleRun]) };
        evidence.take(&AttemptEnd::Completed, &said);
        assert_eq!(evidence.actions, [Action::AnsibleRun].into());
        evidence.take(&AttemptEnd::Completed, &well(&[Action::GeneratePlan]));
        assert_eq!(evidence.actions, [Action::AnsibleRun, Action::GeneratePlan].into());
    }

    #[test]
    fn r085_a_violation_stands_for_thirty_days_and_for_t4_for_ninety() {
        let mut evidence =
            Evidence { runs: 50, compliant: 50, consecutive: 50, escalations: 1, ..Evidence::default() };
        evidence.violate(LedgerTime::from_millis(0));
        evidence.consecutive = 50;
        let day = |days: u64| LedgerTime::from_millis(days * 86_400_000);
        assert_eq!(evidence.missing(Tier::T3, day(29)).len(), 1);
        assert!(evidence.missing(Tier::T3, day(30)).is_empty());
        assert_eq!(evidence.missing(Tier::T4, day(89)).len(), 1);
        assert!(evidence.missing(Tier::T4, day(90)).is_empty());
    }

    #[test]
    fn r087_starting_anew_forgets_what_was_earned_and_not_what_was_violated() {
        let mut evidence = Evidence::default();
        evidence.take(&AttemptEnd::Completed, &Conduct { escalated: true, ..well(&[Action::AnsibleRun]) });
        evidence.violate(LedgerTime::from_millis(7));
        evidence.start_anew();
        let last_violation = Some(LedgerTime::from_millis(7));
        assert_eq!(evidence, Evidence { last_violation, ..Evidence::default() });
    }
}
