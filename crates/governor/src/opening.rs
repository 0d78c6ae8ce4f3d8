//! What a cage opens to a command that is performed under a permit, and what in it stays shut.

use std::collections::BTreeSet;

use eparch_domain::{Action, RunId, limits};
use eparch_policy::{Decision as Says, Owner, Resource, ResourceKind, kinds_of, reasons};
use serde::{Deserialize, Serialize};

use crate::action;
use crate::decision::Refusal;
use crate::denials::{SAID_NO, by_whom};
use crate::fact::Ruled;
use crate::governor::Turn;
use crate::performance::THIS_MACHINE;
use crate::permit::{Asked, PermitFault};
use crate::plan::{LOOKS, is_look};
use crate::question::{self, Question};
use crate::target;

/// What a performance may reach beyond what its agent's tier may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reach", rename_all = "snake_case")]
pub enum Reach {
    /// A file or folder of the host, to read.
    Read {
        /// Relative to the project, or absolute.
        path: String,
    },
    /// A file or folder of the host, to write.
    Write {
        /// Relative to the project, or absolute.
        path: String,
    },
    /// The project's folder, to write.
    Project,
}

impl Reach {
    /// The place that is opened, and whether to be written; `None` for all of the project.
    fn place(&self) -> Option<(&str, bool)> {
        match self {
            Reach::Read { path } => Some((path, false)),
            Reach::Write { path } => Some((path, true)),
            Reach::Project => None,
        }
    }
}

/// What stays shut of what a performance may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shut {
    /// Places in it that stay covered: policy names them and does not let the agent do there what a command in that cage could.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<String>,
    /// What is opened has to be a file: of what lies in a folder, policy judges by names that nobody here knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub file_only: bool,
}

impl Shut {
    /// Whether a cage that was opened so keeps shut all that should be by now.
    pub(crate) fn holds(&self, now: &Shut) -> bool {
        now.covered.iter().all(|place| self.covered.contains(place)) && (self.file_only || !now.file_only)
    }
}

/// Both together.
pub(crate) struct Opening {
    pub(crate) reach: Reach,
    pub(crate) shut: Shut,
}

/// What a permit opens now, or why nothing is performed under it.
pub(crate) fn of(turn: &Turn<'_>, run: RunId, asked: &Asked) -> Result<Opening, Refusal> {
    let reach = reach_of(&asked.ruled)?;
    let covered = covered(turn, run, asked, &reach)?;
    let file_only = file_only(turn, run, asked, &reach)?;
    Ok(Opening { reach, shut: Shut { covered, file_only } })
}

/// What a permit opens to a command, or why none is performed under it.
fn reach_of(ruled: &Ruled) -> Result<Reach, Refusal> {
    let action = ruled.action;
    // What policy wants done in another way is not done in this one.
    let (true, Some(kind)) = (ruled.verdict.changes.is_empty(), kinds_of(action).first()) else {
        return Err(Refusal::NotPerformed { action });
    };
    // The name that policy looked at, and not another one that means the same.
    let named = Resource::new(*kind, &ruled.target, ruled.tenant.clone(), Owner::Tenant);
    let named = named.map_err(|bad| Refusal::BadTarget { action, why: bad.to_string() })?;
    let name = named.name().to_owned();
    match action {
        Action::WriteFile => Ok(Reach::Write { path: name }),
        Action::ReadFile | Action::ListDirectory | Action::SearchCode => Ok(Reach::Read { path: name }),
        Action::ExecuteCommand
        | Action::AnsibleCheck
        | Action::AnsibleRun
        | Action::TerraformPlan
        | Action::TerraformApply
        | Action::DockerRun => match name == THIS_MACHINE {
            true => Ok(Reach::Project),
            false => Err(Refusal::HostOutOfReach { host: name }),
        },
        _ => Err(Refusal::NotPerformed { action }),
    }
}

/// What of a folder that is opened policy says no to, or somebody said no to. Policy was asked about the folder, and may be about
/// something in it: every place in it that some policy names, from the project or from the root, is asked about, too.
fn covered(turn: &Turn<'_>, run: RunId, asked: &Asked, reach: &Reach) -> Result<Vec<String>, Refusal> {
    let Some((path, writes)) = reach.place() else { return said_no_to_in_project(turn, run, asked) };
    let (Some(policies), Some(live)) = (turn.governor.policies_in_force(), turn.governor.run(run)) else {
        return Ok(Vec::new());
    };
    let root = live.spawned.root.as_str();
    let full = |name: &str| target::in_full(name, root).unwrap_or_else(|| name.to_owned());
    let opened = full(path);
    let below = |name: &str| match (opened.as_str(), full(name)) {
        ("/", name) => name != "/" && name.starts_with('/'),
        // Nobody here knows where the project lies: what is named from it is in it.
        (".", name) => name != "." && !name.starts_with('/'),
        (path, name) => name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')),
    };
    // Whoever writes a place reads it as well.
    let denied = live.denials.targets(|action| is_look(action) || writes && target::is_path(action));
    let named = policies.names_of(ResourceKind::Path).into_iter().chain(denied);
    let named: BTreeSet<&str> =
        named.filter(|name| below(name)).map(|name| target::in_project(name, root)).collect();
    if named.len() > limits::PLACES_ASKED_ABOUT {
        let why = format!("policies name more than {} places in it", limits::PLACES_ASKED_ABOUT);
        return Err(Refusal::BadTarget { action: asked.ruled.action, why });
    }
    // A command that is shown a place reads, lists and searches it, whatever it was let do there: what may be seen less than what is
    // around it stays covered.
    let own = asked.ruled.action;
    let around: Vec<(Action, Seen)> = LOOKS
        .iter()
        .filter(|look| **look != own)
        .map(|look| (*look, seen(turn, asked, *look, &asked.ruled.target)))
        .collect();
    let is_hidden = |name: &str| around.iter().any(|(look, around)| seen(turn, asked, *look, name) < *around);
    let denied = |name: &&str| {
        let looked = by_whom(turn, run, Action::ReadFile, name).is_some();
        looked || !action::allows_as_well(turn, run, asked, name) || is_hidden(name)
    };
    Ok(named.into_iter().filter(denied).map(str::to_owned).collect())
}

/// How far policy lets an agent look at a place, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// It is forbidden, or cannot be told.
    Never,
    /// Nothing lets it, or people have to be asked, or it is to be done in another way.
    NotSo,
    /// It may.
    Freely,
}

fn seen(turn: &Turn<'_>, asked: &Asked, look: Action, name: &str) -> Seen {
    let question = Question::of(&asked.ruled, 0).leaving_out(&asked.noted).about(look, name);
    match question::answer(turn, &question) {
        Ok(verdict) => match verdict.decision {
            Says::Allow if verdict.changes.is_empty() => Seen::Freely,
            Says::Deny if &*verdict.reason != reasons::NO_POLICY_ALLOWS => Seen::Never,
            Says::Allow | Says::Modify | Says::Ask | Says::Deny => Seen::NotSo,
        },
        Err(_) => Seen::Never,
    }
}

/// Whether what is opened has to be a file, because some policy judges what may lie in it by the text of its name: whoever is let
/// read `certs` was not asked about `certs/a.pem`. What is known to be a folder is refused.
fn file_only(turn: &Turn<'_>, run: RunId, asked: &Asked, reach: &Reach) -> Result<bool, Refusal> {
    let Some((path, _)) = reach.place() else { return Ok(false) };
    let action = asked.ruled.action;
    let (Some(policies), Some(live), Some(subject)) = (
        turn.governor.policies_in_force(),
        turn.governor.run(run),
        question::subject(turn, &Question::of(&asked.ruled, 0)),
    ) else {
        return Ok(false);
    };
    let root = live.spawned.root.as_str();
    let full = |name: &str| target::in_full(name, root).unwrap_or_else(|| name.to_owned());
    let opened = full(path);
    let lies_in = |name: &str, place: &str| match place {
        "/" => name.starts_with('/'),
        // Nobody here knows where the project lies: what is named from it is in it.
        "." => !name.starts_with('/'),
        place => name.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    let meets = |place: Option<&str>| {
        place.map(full).is_none_or(|place| lies_in(&opened, &place) || lies_in(&place, &opened))
    };
    // Whoever is shown a place reads, lists and searches it, whatever they were let do there.
    let mut actions = LOOKS.into_iter().chain([action]);
    let judged = |action: Action| policies.judged_by_name(&subject, action).into_iter().any(meets);
    if !actions.any(judged) {
        return Ok(false);
    }
    let folder = matches!(action, Action::ListDirectory | Action::SearchCode) || matches!(path, "." | "/");
    if folder {
        return Err(Refusal::FolderByName { path: path.to_owned() });
    }
    Ok(true)
}

/// The places of the project that people said no to, whatever for: a command that works on all of it sees none of them. Where that
/// is the project itself, or a folder it lies in, nothing is left that such a command could work on.
fn said_no_to_in_project(turn: &Turn<'_>, run: RunId, asked: &Asked) -> Result<Vec<String>, Refusal> {
    let Some(live) = turn.governor.run(run) else { return Ok(Vec::new()) };
    let root = live.spawned.root.as_str();
    let said_no = || live.denials.targets(target::is_path);
    if said_no().any(|name| target::holds_project(name, root)) {
        let Ruled { permit: Some(given), .. } = &*asked.ruled else {
            return Err(Refusal::NotPerformed { action: asked.ruled.action });
        };
        let fault = PermitFault::Void { reason: SAID_NO.to_owned() };
        return Err(Refusal::Permit { permit: given.permit, fault });
    }
    let places = said_no().map(|name| target::in_project(name, root));
    let within: BTreeSet<&str> = places.filter(|name| !name.starts_with('/')).collect();
    Ok(within.into_iter().map(str::to_owned).collect())
}
