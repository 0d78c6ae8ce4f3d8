//! From what the governor decided to what the kernel enforces: paths, masks and places in the workspace.

use std::path::{Component, Path, PathBuf};

use eparch_domain::{AgentId, Name, Tier};
use eparch_governor::{AgentSpec, Check};
use eparch_pipeline::SandboxMode;
use eparch_sandbox::{Bind, CageSpec, Sandbox, WORKSPACE};

/// The folder of the workspace that Eparch keeps its own things in. Not the home's name, which is masked.
pub(crate) const OWN_FOLDER: &str = ".agent";
/// Where an agent appends its outputs.
pub(crate) const OUTPUT_FILE: &str = ".agent/output";
/// Every file in here is an artifact.
pub(crate) const ARTIFACTS_FOLDER: &str = ".agent/artifacts";
/// Artifacts of earlier stages, by stage.
pub(crate) const INPUTS_FOLDER: &str = ".agent/inputs";
/// The instruction packet.
pub(crate) const PACKET_FILE: &str = ".agent/packet.json";
/// Its signature.
pub(crate) const PACKET_SIGNATURE: &str = ".agent/packet.sig";

/// Paths that no agent is given to read, whatever its pipeline says (1.3-a).
const FORBIDDEN: [&str; 5] = ["/opt/vault", "/etc/shadow", "/etc/gshadow", "/root/.ssh", "/proc"];

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
pub(crate) fn view(spec: &AgentSpec, home: &Path, expose: &[PathBuf]) -> View {
    let mut cage = CageSpec::new(cage_name(spec.agent));
    cage.sandbox = match spec.sandbox {
        SandboxMode::Required => Sandbox::Required,
        SandboxMode::BestEffort => Sandbox::BestEffort,
    };
    cage.expose = expose.to_vec();
    cage.mask = vec![home.to_owned()];
    let root = Path::new(&spec.root);
    let mut problems = Vec::new();
    for path in &spec.read {
        if let Err(problem) = add_read(&mut cage, root, path) {
            problems.push(problem);
        }
    }
    // At T0 everything written stays in the workspace; from T1 on the project's own paths are written.
    if spec.tier > Tier::T0 {
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

fn add_read(cage: &mut CageSpec, root: &Path, path: &str) -> Result<(), String> {
    let (host, inside) = place(root, path)?;
    match inside {
        Some(inside) if inside.as_os_str().is_empty() => cage.project = Some(host),
        Some(inside) => cage.read.push(Bind::new(host, Path::new(WORKSPACE).join(inside))),
        None => cage.read.push(Bind::new(host.clone(), host)),
    }
    Ok(())
}

fn add_write(cage: &mut CageSpec, root: &Path, path: &str) -> Result<(), String> {
    let wanted = root.join(path);
    if !wanted.exists() {
        // A folder to write to is part of the grant: the author named it.
        std::fs::create_dir_all(&wanted).map_err(|problem| format!("cannot make {path}: {problem}"))?;
    }
    let (host, inside) = place(root, path)?;
    let inside = inside.map_or_else(|| host.clone(), |inside| Path::new(WORKSPACE).join(inside));
    cage.write.push(Bind::new(host, inside));
    Ok(())
}

/// A path's real place on the host, and where it lies below the project if it does.
fn place(root: &Path, path: &str) -> Result<(PathBuf, Option<PathBuf>), String> {
    let host = root.join(path).canonicalize().map_err(|problem| format!("{path}: {problem}"))?;
    for forbidden in FORBIDDEN {
        if host.starts_with(forbidden) {
            return Err(format!("{path} is {forbidden}, which no agent may see"));
        }
    }
    let relative =
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let real_root = root.canonicalize().map_err(|problem| format!("the project's folder: {problem}"))?;
    let inside = host.strip_prefix(&real_root).ok().filter(|_| relative).map(Path::to_owned);
    Ok((host, inside))
}

/// Whether a path stays inside the workspace: relative, and never upwards.
pub(crate) fn stays_inside(path: &str) -> bool {
    let path = Path::new(path);
    path.components().next().is_some()
        && path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
