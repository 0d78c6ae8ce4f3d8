//! What a stage's agent may ask for by name: `ACTION TARGET`, beyond what follows from its paths, tools, secrets and model.

use eparch_domain::{Action, limits};

use super::config::Config;
use super::names::Surroundings;
use super::stages::Draft;
use crate::diagnostic::{Problems, Range, codes};
use crate::syntax::{Node, shown};
use crate::text::Text;

/// The entries of `actions`: the action is a word of the file, so that whoever reads it knows what is asked for; only what it
/// is done to may be an expression.
pub(super) fn actions(
    draft: &Draft<'_>,
    around: &Surroundings<'_, '_>,
    config: Config<'_>,
    problems: &mut Problems,
) -> Vec<Text> {
    let Some(set) = config.get("actions") else { return Vec::new() };
    let outside = draft.node.get("template").map_or(draft.name_range.clone(), |node| node.range.clone());
    let place = |node: &Node| if set.own { node.range.clone() } else { outside.clone() };
    for item in set.node.items().iter().take(limits::STAGE_ACTIONS) {
        if problems.is_crowded() {
            break;
        }
        if let Some(entry) = item.text() {
            entry_is_sound(entry, &place(item), problems);
        }
    }
    if let Some(item) = set.node.items().get(limits::STAGE_ACTIONS) {
        let message = format!("a stage names at most {} actions", limits::STAGE_ACTIONS);
        problems.error(codes::TOO_MANY, place(item), message);
    }
    around.texts(draft, Some(set), problems)
}

fn entry_is_sound(entry: &str, range: &Range, problems: &mut Problems) {
    let (word, target) = entry.split_once(' ').unwrap_or((entry, ""));
    let Ok(action) = word.parse::<Action>() else {
        let message = match word.contains("${{") {
            true => "the action is not an expression: only what it is done to may be one".to_owned(),
            false => format!("no action is called `{}`", shown(word)),
        };
        let problem = problems.error(codes::UNKNOWN_ACTION, range.clone(), message);
        problem.hint("write ACTION TARGET, as in `ansible_run sandbox-*`");
        problem.did_you_mean(word, Action::ALL.iter().map(|action| action.as_str()));
        return;
    };
    if let Some(why) = fault_of_target(action, target) {
        problems
            .error(codes::BAD_TARGET, range.clone(), format!("`{action}` {why}"))
            .hint("a target is a path, a host, a tool or a secret; a `*` at its end stands for any rest");
    }
    if is_never_an_agents(action) {
        let message = format!("the policies that ship let no agent do `{action}`, at any tier");
        problems.warning(codes::NEVER_ALLOWED, range.clone(), message).hint("leave it out: people do it");
    }
}

/// What is wrong with what an action is to be done to, as far as it is written; what an expression yields is looked at when
/// the agent's plan is made.
fn fault_of_target(action: Action, target: &str) -> Option<String> {
    let says = |why: &str| Some(why.to_owned());
    if target.is_empty() {
        return says("needs what it is done to");
    }
    if target.trim() != target || target.contains(char::is_control) {
        return says("has a target with blanks around it, or with control characters");
    }
    if target.len() > limits::RESOURCE_BYTES {
        return Some(format!("has a target of more than {} bytes", limits::RESOURCE_BYTES));
    }
    // A `*` inside an expression multiplies.
    if !target.contains("${{") && target.find('*').is_some_and(|at| at + 1 < target.len()) {
        return says("takes one `*`, at the end of its target");
    }
    if target.split('/').any(|part| part == "..") {
        return says("has a target that climbs out of where it starts");
    }
    if target.trim_end_matches('/') == "." && !is_of_paths(action) {
        return says("is not done to paths: `.` names nothing here");
    }
    None
}

/// Whether an action is done to files, where `.` is the whole project.
fn is_of_paths(action: Action) -> bool {
    matches!(action, Action::ReadFile | Action::ListDirectory | Action::SearchCode | Action::WriteFile)
}

/// What `policies/always.cedar` forbids every agent.
fn is_never_an_agents(action: Action) -> bool {
    matches!(
        action,
        Action::DeleteProduction
            | Action::AccessVaultRoot
            | Action::ModifyGovernance
            | Action::Approve
            | Action::Promote
            | Action::AcceptPartial
    )
}
