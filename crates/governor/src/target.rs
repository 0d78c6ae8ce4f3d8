//! The one name of what an action is done to. A place in the project has two, from the project's folder and from the root of the
//! machine; what is compared, counted, bound and performed has to be one of them, and policies may speak of either.

use eparch_domain::Action;
use eparch_policy::{ResourceKind, kinds_of, one_form};

/// The name under which the governor knows a target: in the form of policies, and relative where it lies in the project. What no
/// policy could be asked about stays as it is, and is refused by whoever asks policy.
pub(crate) fn one_name(action: Action, target: &str, root: &str) -> String {
    match one_form(action, target) {
        Ok(name) if is_path(action) => in_project(&name, root).to_owned(),
        Ok(name) => name,
        Err(_) => target.to_owned(),
    }
}

/// Whether an action is done to a path.
pub(crate) fn is_path(action: Action) -> bool {
    kinds_of(action).contains(&ResourceKind::Path)
}

/// A path as it is called from the project's folder, where it lies in it.
pub(crate) fn in_project<'n>(path: &'n str, root: &str) -> &'n str {
    let Some(root) = folder(root) else { return path };
    match path.strip_prefix(root) {
        Some("" | "/") => ".",
        Some(below) => below.strip_prefix('/').unwrap_or(path),
        None => path,
    }
}

/// A path as it is called from the root of the machine; `None` where nobody knows the project's folder by such a name.
pub(crate) fn in_full(path: &str, root: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    let root = folder(root)?;
    Some(match path {
        "." if root.is_empty() => "/".to_owned(),
        "." => root.to_owned(),
        path => format!("{root}/{path}"),
    })
}

/// Whether a path is the project's folder, or one that it lies in, so that whatever is done to all of that is done to the project.
pub(crate) fn holds_project(path: &str, root: &str) -> bool {
    let (Some(root), true) = (folder(root), path.starts_with('/')) else { return path == "." };
    let below = root.strip_prefix(path.trim_end_matches('/'));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// The project's folder without a slash at its end, so that the root of the machine is nothing.
fn folder(root: &str) -> Option<&str> {
    root.starts_with('/').then(|| root.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_project_has_one_name() {
        for (target, name) in [
            ("docs/x", "docs/x"),
            ("docs/", "docs"),
            ("/srv/web/docs/x", "docs/x"),
            ("/srv/web/docs/", "docs"),
            ("/srv/web", "."),
            (".", "."),
            ("/srv/website/docs", "/srv/website/docs"),
            ("/srv", "/srv"),
            ("/", "/"),
            ("docs/../x", "docs/../x"),
            ("/srv/web//etc/shadow", "/srv/web//etc/shadow"),
        ] {
            for root in ["/srv/web", "/srv/web/"] {
                assert_eq!(one_name(Action::WriteFile, target, root), name, "{target}");
            }
        }
        assert_eq!(one_name(Action::ReadFile, "/etc/hosts", "/"), "etc/hosts");
        assert_eq!(one_name(Action::ReadFile, "/", "/"), ".");
        assert_eq!(one_name(Action::ReadFile, "/etc/hosts", "somewhere"), "/etc/hosts");
        assert_eq!(one_name(Action::AnsibleRun, "Staging-1.", "/srv/web"), "staging-1");
        assert_eq!(one_name(Action::ReadSecret, "inventory/hosts", "/srv/web"), "inventory/hosts");
    }

    #[test]
    fn what_is_no_place_is_not_called_after_the_project() {
        let paths = Action::ALL.iter().filter(|action| is_path(**action));
        assert_eq!(paths.count(), 4, "read_file, list_directory, search_code, write_file");
        for action in Action::ALL.iter().copied().filter(|action| !is_path(*action)) {
            if let Ok(name) = one_form(action, "/srv/web/x") {
                assert_eq!(one_name(action, "/srv/web/x", "/srv/web"), name, "{action}");
            }
        }
    }

    #[test]
    fn the_project_lies_in_itself_and_in_what_is_above_it() {
        for (path, holds) in [
            (".", true),
            ("/srv/web", true),
            ("/srv", true),
            ("/", true),
            ("/srv/we", false),
            ("/srv/web/src", false),
            ("/etc", false),
            ("src", false),
        ] {
            assert_eq!(holds_project(path, "/srv/web"), holds, "{path}");
            assert_eq!(holds_project(path, "/srv/web/"), holds, "{path}");
        }
        assert!(holds_project("/", "/") && holds_project(".", "somewhere"));
        assert!(!holds_project("/srv", "/") && !holds_project("/srv", "somewhere"));
    }

    #[test]
    fn both_names_lead_to_each_other() {
        for root in ["/srv/web", "/srv/web/", "/"] {
            for name in ["docs/x", "."] {
                let full = in_full(name, root).unwrap();
                assert!(full.starts_with('/') && !full.contains("//"), "{full}");
                assert_eq!(in_project(&full, root), name);
            }
        }
        assert_eq!(in_full("docs", "somewhere"), None);
        assert_eq!(in_full("/etc", "/srv/web").unwrap(), "/etc");
    }
}
