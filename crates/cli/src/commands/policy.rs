//! Policies as a user works with them: are they sound, what do they say, do they say what was meant.

mod cases;
mod explain;
mod load;
mod question;
mod show;
mod waiting;

use std::path::Path;

use eparch_daemon::{NoPolicies, PolicyFiles};
use eparch_domain::{Action, OperatorRole, in_full, limits};
use eparch_policy::{Decision, PolicySet, Problem};
use serde_json::json;

use crate::args::{self, Scope, Which};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::paint;
use question::{Asker, Known};

/// `eparch policy …`.
pub(crate) fn carry_out(context: &Context, command: args::Policy) -> Result<u8, Failure> {
    match command {
        args::Policy::Check { dir } => check(context, dir.as_deref()),
        args::Policy::Load(asked) => super::block_on(load::carry_out(context, &asked)),
        args::Policy::Waiting(asked) => super::block_on(waiting::carry_out(context, &asked)),
        args::Policy::Explain(asked) => explain::explain(context, &asked),
        args::Policy::Test { file, which } => cases::try_all(context, &file, &which),
        args::Policy::Show { who, which } => show::show(context, who, &which),
    }
}

fn check(context: &Context, dir: Option<&Path>) -> Result<u8, Failure> {
    let files = find(context, dir)?;
    let loaded = PolicySet::load(&files.texts());
    let place = files.place.as_str();
    if context.is_json() {
        let found = loaded.as_ref().err().map_or(&[][..], Vec::as_slice);
        let (count, digest) = match &loaded {
            Ok(set) => (Some(set.rules().len()), Some(set.digest())),
            Err(_) => (None, None),
        };
        let valid = loaded.is_ok();
        print_json(
            &json!({ "valid": valid, "place": place, "policies": count, "digest": digest, "problems": found }),
        )?;
        return Ok(if valid { exit::DONE } else { exit::BAD_DOCUMENT });
    }
    match loaded {
        Ok(set) => {
            let (count, files) = (set.rules().len(), files.files.len());
            outln!(
                "{place}: {}: {count} policies in {files} files, {}",
                paint::out().good("valid"),
                set.digest()
            );
            tell_of_people(&set);
            Ok(exit::DONE)
        }
        Err(problems) => {
            tell(&problems);
            let many = counted(problems.len(), "problem", "problems");
            outln!("{place}: {}: {many}", paint::out().bad("not valid"));
            Ok(exit::BAD_DOCUMENT)
        }
    }
}

/// What nobody could do with these in force, and what no policy keeps people from: nobody is to find out when it matters.
fn tell_of_people(policies: &PolicySet) {
    let nobody: Vec<&str> =
        NEEDED.iter().filter(|what| !is_for_somebody(policies, what)).map(|what| what.2).collect();
    if !nobody.is_empty() {
        let warning = paint::out().warn("warning");
        outln!("{warning}: with these in force no person may {}", nobody.join(", nor "));
    }
    let ids: Vec<&str> =
        policies.rules().filter(|rule| rule.against_revoking).map(|rule| &*rule.id).collect();
    if !ids.is_empty() {
        let warning = paint::out().warn("warning");
        outln!(
            "{warning}: no policy keeps people from `revoke` and stopping, whose role is for it: {}",
            ids.join(", ")
        );
    }
}

/// What somebody has to be able to do in a home that is of use: an action, to what, and in words.
const NEEDED: [(Action, &str, &str); 3] = [
    (Action::SpawnAgent, "run@T0", "start runs"),
    (Action::Approve, "gate", "approve anything"),
    (
        Action::ModifyGovernance,
        "policy",
        "put other policies in force (those of the home's folder are when it is next held)",
    ),
];

/// Whether any role may do it, with whatever approvals.
fn is_for_somebody(policies: &PolicySet, (action, resource, _): &(Action, &str, &str)) -> bool {
    let scope = if *action == Action::ModifyGovernance { Scope::Governance } else { Scope::Own };
    let mut ways =
        OperatorRole::ALL.into_iter().flat_map(|role| (0..=limits::ACTION_APPROVALS).map(move |n| (role, n)));
    ways.any(|(role, approvals)| {
        let mut known = Known::default();
        let said = known.set("approvals", &approvals.into());
        let request = question::request(Asker::Operator(role), *action, resource, scope, &known);
        said.is_ok() && request.is_ok_and(|request| policies.decide(&request).decision == Decision::Allow)
    })
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Tells what is wrong, each problem with its place and what to try.
fn tell(problems: &[Problem]) {
    let paint = paint::out();
    for problem in problems {
        let Problem { file, line, column, code, message, .. } = problem;
        let head = paint.bad(&format!("error[{code}]"));
        outln!("{head}: {}", paint::harmless_lines(message));
        outln!("  --> {}:{line}:{column}", paint::harmless(file));
        if let Some(hint) = &problem.hint {
            outln!("  = help: {}", paint::harmless_lines(hint));
        }
    }
}

/// That a home is not held, for want of policies that could be in force (G4).
pub(crate) fn unusable(problem: &NoPolicies) -> Failure {
    Failure::new("EP0811", in_full(problem))
        .hint("`eparch policy check` shows what is wrong with them; nothing is done without policies")
        .exit(exit::BAD_DOCUMENT)
}

/// The policies to ask, which must be sound.
fn load(context: &Context, which: &Which) -> Result<(PolicySet, String), Failure> {
    let files = find(context, which.policies.as_deref())?;
    match PolicySet::load(&files.texts()) {
        Ok(set) => Ok((set, files.place)),
        Err(problems) => {
            let detail: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let place = files.place;
            let many = counted(problems.len(), "problem", "problems");
            let message = format!("the policies of {place} cannot be used: {many}");
            Err(Failure::new("EP0811", message)
                .detail(detail.join("\n"))
                .hint("`eparch policy check` shows them one by one")
                .exit(exit::BAD_DOCUMENT))
        }
    }
}

/// Those that were named, else the home's own, else those that ship.
fn find(context: &Context, named: Option<&Path>) -> Result<PolicyFiles, Failure> {
    let found = match named {
        Some(place) => PolicyFiles::of(place),
        None => PolicyFiles::of_home(&context.home_root()),
    };
    found.map_err(|problem| {
        Failure::new("EP0702", problem.to_string())
            .hint("name a folder of .cedar files, UTF-8 text, that is there and that you may read")
            .exit(exit::BAD_DOCUMENT)
    })
}

/// The text of a file of tests.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let found = PolicyFiles::of(path).map_err(|problem| {
        Failure::new("EP0702", problem.to_string())
            .hint("tests of policies are UTF-8 text; name a file that is there and that you may read")
            .exit(exit::BAD_DOCUMENT)
    })?;
    found.files.into_iter().next().ok_or_else(|| Failure::new("EP0702", "there is no such file"))
}
