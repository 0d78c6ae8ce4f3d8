//! What a plan lets an agent ask for (R007).

use eparch_domain::Action;

use crate::target::{in_project, is_path};

/// Whether an action is in a plan. An entry is an action and a target: `read_file docs`, `ansible_run sandbox-*`, `read_secret
/// inventory`. What lies below a planned target is planned as well; looking is looking, however it is done.
pub(crate) fn is_planned(plan: &[String], action: Action, target: &str, root: &str) -> bool {
    let target = target.trim_end_matches('/');
    plan.iter().filter_map(|entry| entry.split_once(' ')).any(|(named, planned)| {
        let looks = || named.parse().is_ok_and(is_look) && is_look(action);
        let planned = planned.trim_end_matches('/');
        // A stage may name a place of the project from the root of the machine.
        let planned = if is_path(action) { in_project(planned, root) } else { planned };
        (named == action.as_str() || looks()) && covers(planned, target)
    })
}

/// The ways to look at something.
pub(crate) const LOOKS: [Action; 3] = [Action::ReadFile, Action::ListDirectory, Action::SearchCode];

/// Whether an action is looking at something, in one way or another.
pub(crate) fn is_look(action: Action) -> bool {
    LOOKS.contains(&action)
}

fn covers(planned: &str, target: &str) -> bool {
    if let Some(begin) = planned.strip_suffix('*') {
        return target.starts_with(begin);
    }
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    (planned == "." && !target.starts_with('/')) || target.strip_prefix(planned).is_some_and(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r007_what_is_planned_covers_what_lies_below_and_nothing_beside_it() {
        let plan =
            ["read_file docs/", "write_file out", "ansible_run sandbox-*", "read_secret inventory/hosts"];
        let plan = plan.map(str::to_owned);
        let planned = |action: Action, target: &str| is_planned(&plan, action, target, "/srv/web");
        for (action, target) in [
            (Action::ReadFile, "docs"),
            (Action::ReadFile, "docs/a/b.md"),
            (Action::SearchCode, "docs/a/"),
            (Action::ListDirectory, "docs"),
            (Action::WriteFile, "out/x"),
            (Action::AnsibleRun, "sandbox-3"),
            (Action::ReadSecret, "inventory/hosts"),
        ] {
            assert!(planned(action, target), "{action} {target}");
        }
        for (action, target) in [
            (Action::ReadFile, "doc"),
            (Action::ReadFile, "docs2/x"),
            (Action::WriteFile, "docs/x"),
            (Action::WriteFile, "outer"),
            (Action::AnsibleRun, "staging-1"),
            (Action::AnsibleCheck, "sandbox-3"),
            (Action::ReadSecret, "inventory"),
            (Action::ReadSecret, "inventory/hosts2"),
        ] {
            assert!(!planned(action, target), "{action} {target}");
        }
        let everything = ["read_file .".to_owned()];
        assert!(is_planned(&everything, Action::ReadFile, "a/b", "/srv/web"));
        assert!(!is_planned(&everything, Action::ReadFile, "/etc/passwd", "/srv/web"));
        let in_full = ["write_file /srv/web/out".to_owned()];
        assert!(is_planned(&in_full, Action::WriteFile, "out/x", "/srv/web"));
        assert!(!is_planned(&in_full, Action::WriteFile, "out/x", "/srv"));
    }
}
