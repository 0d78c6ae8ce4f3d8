//! What watched policies said beside decisions is seen of runs and gates.

use eparch_domain::{Action, GateId, RunId};
use eparch_governor::GateDecision;
use eparch_ledger::views::WatchedView;
use eparch_policy::Decision;

use super::dump;
use super::story::{Story, opened};

/// People do what they do. Agents look, and are asked about commands; two policies watch the one and one the other.
const POLICIES: &str = "\
@id(\"people\") @reason(\"people_may\") permit (principal is Operator, action, resource);
@id(\"looks\") @reason(\"may_look\") permit (principal is Agent, action in Action::\"look\", resource);
@id(\"asks\") @reason(\"needs_people\") @verdict(\"ask\")
permit (principal is Agent, action == Action::\"execute_command\", resource) unless { context.approvals >= 1 };
@id(\"approved\") @reason(\"people_said_yes\")
permit (principal is Agent, action == Action::\"execute_command\", resource) when { context.approvals >= 1 };
@id(\"w-curious\") @reason(\"too_curious\") @shadow
forbid (principal is Agent, action in Action::\"look\", resource in Path::\"docs\");
@id(\"w-looks\") @reason(\"looks_too\") @shadow
permit (principal is Agent, action in Action::\"look\", resource);
@id(\"w-never\") @reason(\"no_commands\") @shadow
forbid (principal is Agent, action == Action::\"execute_command\", resource);
@id(\"w-writes\") @reason(\"may_write\") @shadow
permit (principal is Agent, action == Action::\"write_file\", resource);
";

/// A run whose agent looks twice, at what one watched policy would deny and at what it would not; writes, which nothing permits;
/// and has people asked, who say yes.
pub(crate) fn spoken_beside(story: &mut Story, run: u128) -> (RunId, GateId) {
    story.policies(POLICIES);
    let (run, record) = story.ask_for_run(run, "ann", "staging");
    let agent = Story::prepared(&record)["plan"];
    story.release(agent);
    story.ask(agent, Action::ReadFile, "docs/a", "k1");
    story.ask(agent, Action::ReadFile, "docs/b", "k2");
    // The same request is no second decision.
    story.ask(agent, Action::ReadFile, "docs/b", "k2");
    story.ask(agent, Action::ReadFile, "src/a", "k3");
    story.ask(agent, Action::WriteFile, "src/a", "k4");
    let gate = opened(&story.ask(agent, Action::ExecuteCommand, "localhost", "k5"));
    story.answer(gate, "lead", GateDecision::Approve);
    story.ask(agent, Action::ExecuteCommand, "localhost", "k5");
    (run, gate)
}

fn word(policy: &str, would: Decision, reason: &str, decided: Decision, times: u64) -> WatchedView {
    let (policy, reason_code) = (policy.to_owned(), reason.to_owned());
    WatchedView { policy, would, reason_code, decided, otherwise: true, times }
}

#[test]
fn what_watched_policies_would_have_decided_is_seen_of_a_run() {
    let mut story = Story::new();
    let (run, _) = spoken_beside(&mut story, 1);
    let views = story.followed();
    let detail = views.run(&story.tenant, run).unwrap().unwrap();
    let vain =
        WatchedView { otherwise: false, ..word("w-looks", Decision::Allow, "looks_too", Decision::Allow, 3) };
    assert_eq!(
        detail.watched,
        [
            word("w-curious", Decision::Deny, "too_curious", Decision::Allow, 2),
            word("w-never", Decision::Deny, "no_commands", Decision::Allow, 1),
            word("w-never", Decision::Deny, "no_commands", Decision::Ask, 1),
            word("w-writes", Decision::Allow, "may_write", Decision::Deny, 1),
            vain,
        ]
    );
    assert_eq!(detail.summary.decided_otherwise, 5);
    assert_eq!(views.latest_run(&story.tenant).unwrap().unwrap().decided_otherwise, 5);
}

/// At the gate stands what was said beside the decision to ask, and not beside the one after it.
#[test]
fn what_watched_policies_would_have_decided_is_seen_at_the_gate() {
    let mut story = Story::new();
    let (run, gate) = spoken_beside(&mut story, 1);
    let views = story.followed();
    let asked = [word("w-never", Decision::Deny, "no_commands", Decision::Ask, 1)];
    assert_eq!(views.approval(&story.tenant, gate).unwrap().unwrap().watched, asked);
    assert_eq!(views.approvals(&story.tenant, false).unwrap()[0].watched, asked);
    assert_eq!(views.run(&story.tenant, run).unwrap().unwrap().approvals[0].watched, asked);
}

/// Every table is the same when the views are made anew, and when they had begun before (R113).
#[test]
fn r113_what_was_said_is_the_same_in_views_that_are_made_anew() {
    let mut story = Story::new();
    spoken_beside(&mut story, 1);
    let mut views = story.followed();
    let followed = dump(&story);
    assert_eq!(followed["watched"].len(), 8, "{followed:#?}");
    views.rebuild(&story.ledger().read(), &story.tenant).unwrap();
    assert_eq!(dump(&story), followed);
    drop(views);
    std::fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), followed);
    // By views that were there before it happened.
    let mut story = Story::new();
    let mut views = story.followed();
    spoken_beside(&mut story, 1);
    story.follow(&mut views);
    drop(views);
    assert_eq!(dump(&story), followed);
}

#[test]
fn a_run_beside_which_nothing_was_said_shows_nothing() {
    let mut story = Story::new();
    let run = story.whole_run(1);
    spoken_beside(&mut story, 2);
    let detail = story.followed().run(&story.tenant, run).unwrap().unwrap();
    assert_eq!((detail.watched.len(), detail.summary.decided_otherwise), (0, 0));
    assert!(detail.approvals.iter().all(|gate| gate.watched.is_empty()));
}
