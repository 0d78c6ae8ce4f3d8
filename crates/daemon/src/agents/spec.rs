//! From what the governor decided to what the kernel enforces: paths, masks and places in the workspace.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use eparch_domain::{AgentId, Name, Tier};
use eparch_governor::{AgentSpec, Check};
use eparch_pipeline::{Pipeline, SandboxMode, Work};
use eparch_sandbox::{Alias, Bind, CageSpec, Desk, Sandbox, WORKSPACE};

use crate::agents::grant::{self, Place};

/// The folder of the workspace that Eparch keeps its own things in: of each cage its own, with nothing of the project in
/// it. Not the home's name, which is masked.
pub(crate) const OWN_FOLDER: &str = ".agent";
/// Where an agent appends its outputs.
pub(crate) const OUTPUT_FILE: &str = ".agent/output";
/// Every file in here is an artifact.
pub(crate) const ARTIFACTS_FOLDER: &str = ".agent/artifacts";
/// What it is given and cannot change.
const GIVEN_FOLDER: &str = "given";
/// Artifacts of earlier stages, by stage.
pub(crate) const INPUTS_FOLDER: &str = ".agent/given/inputs";
/// What is known of the run that it looks at, for an agent that does.
pub(crate) const HANDOFF_FILE: &str = ".agent/given/inputs/handoff.json";
/// The instruction packet.
pub(crate) const PACKET_FILE: &str = ".agent/given/packet.json";
/// Its signature.
pub(crate) const PACKET_SIGNATURE: &str = ".agent/given/packet.sig";

/// Where an agent finds this program, so that a script needs nothing else to ask for something.
pub(crate) const TOOL_FOLDER: &str = "/opt/eparch";

/// What an agent is to see, or why it may not.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) cage: CageSpec,
    /// What was checked on the way, for PREFLIGHT's inventory.
    pub(crate) inventory: Check,
}

/// What an agent's cage is called, by whatever holder.
pub(crate) fn cage_name(agent: AgentId) -> Name {
    Name::new(&agent.to_string()).expect("an id is a name")
}

/// Works out what an agent sees. A path that is missing or forbidden fails the inventory, and the cage is not opened.
pub(crate) fn view(spec: &AgentSpec, pipeline: &Pipeline, home: &Path, expose: &[PathBuf]) -> View {
    let mut cage = CageSpec::new(cage_name(spec.agent));
    cage.sandbox = match spec.sandbox {
        SandboxMode::Required => Sandbox::Required,
        SandboxMode::BestEffort => Sandbox::BestEffort,
    };
    cage.expose = expose.to_vec();
    cage.mask = grant::hidden(home, |name| std::env::var_os(name));
    cage.desk = Some(desk(spec, pipeline));
    cage.read.extend(this_program(&cage.mask));
    let root = Path::new(&spec.root);
    let mut problems = words_of_agents(spec, pipeline);
    for path in &spec.read {
        if let Err(problem) = add_read(&mut cage, root, path) {
            problems.push(problem);
        }
    }
    // At T0 everything written stays in the workspace; from T1 on the project's own paths are written.
    if spec.tier > Tier::T0 && problems.is_empty() {
        problems = make_missing(root, &spec.write, &cage.mask);
    }
    if spec.tier > Tier::T0 && problems.is_empty() {
        for path in &spec.write {
            if let Err(problem) = add_write(&mut cage, root, path) {
                problems.push(problem);
            }
        }
    }
    let detail = if problems.is_empty() {
        format!("{} paths to read, {} to write", spec.read.len(), spec.write.len())
    } else {
        problems.join("; ")
    };
    View { cage, inventory: Check { name: "inventory".to_owned(), ok: problems.is_empty(), detail } }
}

/// This program, for the agent to call. One that was replaced since it was started, or lies where no agent may look, is not
/// shown: whoever needs it has plain HTTP.
fn this_program(mask: &[PathBuf]) -> Option<Bind> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).ok()?;
    let is_hidden = mask.iter().any(|hidden| program.starts_with(hidden));
    (!is_hidden).then(|| Bind::new(program, Path::new(TOOL_FOLDER).join("eparch")))
}

/// The folder of its own things, and what of it an agent only reads: what it is given, and its template's files. A script
/// of these checks what it did.
fn desk(spec: &AgentSpec, pipeline: &Pipeline) -> Desk {
    let (mut given, mut files) = (BTreeSet::from([PathBuf::from(GIVEN_FOLDER)]), BTreeSet::new());
    let theirs = [ARTIFACTS_FOLDER, OUTPUT_FILE].map(Path::new);
    if let Work::Agent(work) = &pipeline.stage(spec.stage).work {
        for path in work.files.keys().map(Path::new) {
            let Ok(within) = path.strip_prefix(OWN_FOLDER) else { continue };
            let mut parts = within.components();
            let Some(first) = parts.next().filter(|_| !theirs.iter().any(|own| path.starts_with(own))) else {
                continue;
            };
            let kind = if parts.next().is_some() { &mut given } else { &mut files };
            kind.insert(PathBuf::from(first.as_os_str()));
        }
    }
    // A path that needs a folder where another one needs a file fails where it is written.
    files.retain(|file| !given.contains(file));
    Desk { at: OWN_FOLDER.into(), given: given.into_iter().collect(), files: files.into_iter().collect() }
}

/// Paths that earlier stages yielded and that are not in the project.
fn words_of_agents(spec: &AgentSpec, pipeline: &Pipeline) -> Vec<String> {
    let Work::Agent(work) = &pipeline.stage(spec.stage).work else { return Vec::new() };
    let texts = work.read.iter().zip(&spec.read).chain(work.write.iter().zip(&spec.write));
    let yielded =
        texts.filter(|(text, _)| text.expressions().any(|expression| !expression.stage_names().is_empty()));
    yielded.filter_map(|(_, path)| grant::of_project(Path::new(&spec.root), path).err()).collect()
}

fn add_read(cage: &mut CageSpec, root: &Path, path: &str) -> Result<(), String> {
    let Place { host, inside } = grant::place(root, path)?;
    let at = inside.as_ref().map_or_else(|| host.clone(), |inside| in_workspace(inside));
    cage.aliases.extend(as_written(path, &at));
    match inside {
        Some(inside) if inside.as_os_str().is_empty() => cage.project = Some(host),
        _ => cage.read.push(Bind::new(host, at)),
    }
    Ok(())
}

/// The project itself is `/workspace`, without a slash at its end.
pub(crate) fn in_workspace(path: &Path) -> PathBuf {
    Path::new(WORKSPACE).join(path).components().collect()
}

/// The name by which a path was written, when links in it led somewhere else.
fn as_written(path: &str, place: &Path) -> Option<Alias> {
    let at = in_workspace(Path::new(path));
    // Above a link is not where it stands.
    let plain = !at.components().any(|part| part == Component::ParentDir);
    (plain && at != place).then(|| Alias { at, to: place.to_owned() })
}

/// Makes the folders to write that are not there, and none of them while anything is wrong with one.
fn make_missing(root: &Path, write: &[String], hidden: &[PathBuf]) -> Vec<String> {
    let (mut problems, mut missing) = (Vec::new(), Vec::new());
    for path in write {
        match grant::to_make(root, path, hidden) {
            Ok(host) => missing.extend(host.map(|host| (path, host))),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        problems.extend(missing.iter().find_map(|(path, host)| grant::make(path, host).err()));
    }
    problems
}

fn add_write(cage: &mut CageSpec, root: &Path, path: &str) -> Result<(), String> {
    let Place { host, inside } = grant::place(root, path)?;
    let at = inside.map_or_else(|| host.clone(), |inside| in_workspace(&inside));
    cage.aliases.extend(as_written(path, &at));
    cage.write.push(Bind::new(host, at));
    Ok(())
}

/// Whether a path stays inside the workspace: relative, and never upwards.
pub(crate) fn stays_inside(path: &str) -> bool {
    let path = Path::new(path);
    path.components().next().is_some()
        && path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
