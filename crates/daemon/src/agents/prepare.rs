//! BOOTSTRAP, PREFLIGHT and PLAN: everything before an agent's program may be let go.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use eparch_domain::{Digest, InOrder, Tier, in_full, limits};
use eparch_governor::{AgentSpec, Check, Measure, Outcome};
use eparch_pipeline::{Pipeline, Text, Work};
use eparch_sandbox::{Cage, OpenError, PATH, Program, StartError, Status, WORKSPACE};

use crate::agents::grant;
use crate::agents::spec::{
    self, ARTIFACTS_FOLDER, HANDOFF_FILE, INPUTS_FOLDER, OUTPUT_FILE, PACKET_FILE, PACKET_SIGNATURE,
};
use crate::artifacts::Artifacts;

/// What becomes of a measure in the record.
pub(crate) fn record(measures: &[eparch_sandbox::Measure]) -> Vec<Measure> {
    let one = |measure: &eparch_sandbox::Measure| match &measure.status {
        Status::InForce { by } => {
            Measure { name: measure.name.to_string(), in_force: true, detail: by.clone() }
        }
        Status::Missing { why, how_to_get } => Measure {
            name: measure.name.to_string(),
            in_force: false,
            detail: format!("{why}; to get it: {how_to_get}"),
        },
    };
    measures.iter().map(one).collect()
}

/// The sandbox's line of PREFLIGHT when its cage did not open.
pub(crate) fn refused(problem: &OpenError) -> (Check, Vec<Measure>) {
    let measures = match problem {
        OpenError::Missing(measures) => record(measures),
        _ => Vec::new(),
    };
    (Check { name: "sandbox".to_owned(), ok: false, detail: in_full(problem) }, measures)
}

/// The environment of an agent's program: its own variables and what Eparch tells it, nothing of the holder's. A stage may
/// have a `PATH` and a `LANG` of its own.
pub(crate) fn environment(
    spec: &AgentSpec,
    port: u16,
    token: &str,
    expose: &[std::path::PathBuf],
) -> BTreeMap<String, String> {
    let own = |file: &str| Path::new(WORKSPACE).join(file).display().to_string();
    let run = spec.run.to_string();
    // A tool folder is searched itself, and its `bin`.
    let exposed = expose.iter().rev().flat_map(|folder| [folder.join("bin"), folder.clone()]);
    let mut path: Vec<String> = exposed.map(|folder| folder.display().to_string()).collect();
    match spec.env.get("PATH") {
        Some(own) => path.insert(0, own.clone()),
        None => path.push(PATH.to_owned()),
    }
    // Last: no program of the stage's own is hidden by it.
    path.push(spec::TOOL_FOLDER.to_owned());
    let told = [
        ("EPARCH_URL", format!("http://127.0.0.1:{port}")),
        ("EPARCH_TOKEN", token.to_owned()),
        ("EPARCH_RUN", run.clone()),
        ("PIPELINE_ID", run),
        ("EPARCH_AGENT", spec.agent.to_string()),
        ("EPARCH_STAGE", spec.name.to_string()),
        ("EPARCH_TIER", spec.tier.number().to_string()),
        ("EPARCH_OUTPUT", own(OUTPUT_FILE)),
        ("EPARCH_ARTIFACTS", own(ARTIFACTS_FOLDER)),
        ("EPARCH_INPUTS", own(INPUTS_FOLDER)),
        ("EPARCH_PACKET", own(PACKET_FILE)),
        ("HOME", eparch_sandbox::HOME.to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
    ];
    let named = |(key, value): (&str, String)| (key.to_owned(), value);
    let mut env = BTreeMap::from([named(("LANG", "C.UTF-8".to_owned()))]);
    env.extend(spec.env.clone());
    env.extend(told.map(named));
    if !spec.locks.is_empty() {
        let fences = serde_json::to_string(&spec.locks).expect("names and numbers are plain data");
        env.insert("EPARCH_LOCKS".to_owned(), fences);
    }
    env.insert("PATH".to_owned(), path.join(":"));
    env
}

/// Held by whoever copies an artifact into a workspace.
static ONE_FILE: Mutex<()> = Mutex::new(());

/// Puts into the workspace what the agent is given: its packet, its template's files, earlier artifacts, and what is known of the
/// run that it looks at.
pub(crate) fn furnish(
    cage: &Cage,
    spec: &AgentSpec,
    pipeline: &Pipeline,
    artifacts: &Artifacts,
    packet: &(Vec<u8>, String),
    handoff: Option<&[u8]>,
) -> Result<(), String> {
    let workspace = cage.workspace();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |problem: eparch_sandbox::WorkspaceError| format!("cannot give it {what}: {}", in_full(&problem))
    };
    workspace.make_folder(ARTIFACTS_FOLDER).map_err(failed("its artifacts folder"))?;
    workspace.make_folder(INPUTS_FOLDER).map_err(failed("its inputs folder"))?;
    workspace.write_file(OUTPUT_FILE, b"", 0o600).map_err(failed("its output file"))?;
    workspace.write_file(PACKET_FILE, &packet.0, 0o400).map_err(failed("its packet"))?;
    workspace
        .write_file(PACKET_SIGNATURE, packet.1.as_bytes(), 0o400)
        .map_err(failed("its packet's signature"))?;
    if let Some(handoff) = handoff {
        workspace.write_file(HANDOFF_FILE, handoff, 0o400).map_err(failed("its handoff"))?;
    }
    if let Work::Agent(work) = &pipeline.stage(spec.stage).work {
        for (path, content) in &work.files {
            workspace.write_file(path, content.as_bytes(), 0o500).map_err(failed(path))?;
        }
    }
    for (stage, files) in &spec.inputs_from {
        for file in files {
            // Each is read whole: one at a time for all agents, or many that start at once would need the memory of all.
            let _one = ONE_FILE.lock().unwrap_or_else(PoisonError::into_inner);
            let content = fs::read(artifacts.path(&file.digest))
                .map_err(|problem| format!("{}: {problem}", file.path))?;
            if Digest::of(&content) != file.digest {
                return Err(format!("the artifact {} of {stage} is not what was recorded", file.path));
            }
            let place = Path::new(INPUTS_FOLDER).join(stage.as_str()).join(&file.path);
            workspace.write_file(&place, &content, 0o400).map_err(failed(&file.path))?;
        }
    }
    // What is written at T0 is written in the workspace, in folders that are there as they would be outside. One that
    // cannot be made, for a file that stands there or a path that is only read, is for the program to meet.
    if spec.tier == Tier::T0 {
        for path in spec.write.iter().filter(|path| spec::stays_inside(path)) {
            let outside = fs::metadata(Path::new(&spec.root).join(path)).map(|found| found.is_file());
            let file = outside.unwrap_or_else(|_| grant::names_a_file(path));
            let folder = Path::new(path);
            let _ = workspace.make_folder(folder.parent().filter(|_| file).unwrap_or(folder));
        }
    }
    Ok(())
}

/// Whether every program that will be run is there, before any of them runs.
pub(crate) fn dependencies(cage: &Cage, spec: &AgentSpec, env: &BTreeMap<String, String>) -> Check {
    let mut found = Vec::new();
    let mut ok = true;
    // A check may be what the program is about to build: only those looked up by name are looked for now.
    let checks = spec.verify.iter().filter(|command| command.first().is_some_and(|name| !name.contains('/')));
    let checks = checks.map(|command| check(command, env));
    for program in std::iter::once(program(&spec.command, env)).chain(checks) {
        let Some(name) = program.argv.first() else { continue };
        match cage.resolve(&program) {
            Ok(path) => found.push(format!("{name} is {}", path.display())),
            Err(problem) => {
                ok = false;
                let own =
                    own_program(cage, &program).filter(|_| matches!(problem, StartError::NotFound { .. }));
                let problem = in_full(&problem);
                found.push(
                    own.map_or_else(|| missing_hint(name, &problem), |hint| format!("{problem}; {hint}")),
                );
            }
        }
    }
    Check { name: "dependencies".to_owned(), ok, detail: found.join("; ") }
}

/// Whether a check is looked for where an agent puts its own things, and what to write instead.
fn own_program(cage: &Cage, check: &Program) -> Option<String> {
    let everywhere = Program { only_given: false, ..check.clone() };
    let path = cage.resolve(&everywhere).ok().filter(|_| check.only_given)?;
    Some(format!(
        "{} is not taken for it, since the agent can write there: a check that is meant to be of the workspace is named by its \
         path",
        path.display()
    ))
}

/// A program that people have, outside what agents see, is a common surprise: say where it is and what to do.
fn missing_hint(name: &str, problem: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let outside = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    match outside.filter(|_| !name.contains('/')) {
        Some(file) => {
            let folder =
                file.parent().and_then(|bin| if bin.ends_with("bin") { bin.parent() } else { Some(bin) });
            let folder = folder.unwrap_or(&file).display();
            format!(
                "{problem}; it is at {} outside, which `sandbox.expose = [\"{folder}\"]` in eparch.toml would show",
                file.display()
            )
        }
        None => problem.to_owned(),
    }
}

/// The variable that tells an agent's program what its output streams are: what they get is captured, and what is performed for
/// it is captured as that. `eparch act` prints no copy of it there.
pub const STREAMS: &str = "EPARCH_STREAMS";

/// An agent's program, ready to be run in its cage.
pub(crate) fn agents_program(command: &[String], env: &BTreeMap<String, String>) -> Program {
    Program { streams_in: Some(STREAMS.to_owned()), ..program(command, env) }
}

/// A command of an agent, ready to be run in its cage.
pub(crate) fn program(command: &[String], env: &BTreeMap<String, String>) -> Program {
    let mut program = Program::new(command.to_vec());
    program.env = env.clone();
    program
}

/// A command that checks a result. It has a time of its own: one that hangs must not hold an agent's place for as long as the
/// stage may take. No program that the agent may have put somewhere is found by its name, neither as the check nor by it.
pub(crate) fn check(command: &[String], env: &BTreeMap<String, String>) -> Program {
    Program { only_given: true, timeout: Some(limits::VERIFY_TIMEOUT), ..program(command, env) }
}

/// What an agent's plan says: everything that will be run and what it may touch.
pub(crate) fn plan_document(spec: &AgentSpec) -> Vec<u8> {
    let document = serde_json::json!({
        "v": 1,
        "stage": spec.name,
        "tier": spec.tier,
        "command": spec.command,
        "read": spec.read,
        "write": spec.write,
        "actions": spec.actions,
        "locks": spec.locks,
        "verify": spec.verify,
        "artifacts": spec.artifacts,
        "env": spec.env.keys().collect::<Vec<_>>(),
    });
    serde_json::to_vec(&InOrder(&document)).expect("a plan is plain data")
}

/// PLAN: what will be done, as a document, and whether it may be. What its stage names besides is what it may ask for.
pub(crate) fn plan(
    spec: &AgentSpec,
    pipeline: &Pipeline,
    artifacts: &Artifacts,
) -> Result<(Digest, Outcome), String> {
    let kept = artifacts
        .keep_bytes(&plan_document(spec))
        .map_err(|problem| format!("its plan cannot be kept: {problem}"))?;
    let mut actions = vec![format!("execute_command {}", spec.command.first().map_or("", String::as_str))];
    actions.extend(spec.read.iter().map(|path| format!("read_file {path}")));
    actions.extend(spec.write.iter().map(|path| format!("write_file {path}")));
    actions.extend(spec.actions.iter().cloned());
    let mut problem = problem_of(spec);
    if let Work::Agent(work) = &pipeline.stage(spec.stage).work {
        problem = problem.or_else(|| wider_than_written(&work.actions, &spec.actions));
        actions.extend(work.tools.iter().map(|tool| format!("call_tool {tool}")));
        actions.extend(work.secrets.iter().map(|secret| format!("read_secret {secret}")));
        actions.extend(work.model.iter().map(|model| format!("llm_chat {model}")));
    }
    let outcome = Outcome::Plan { plan: kept.digest, actions, problem };
    Ok((kept.digest, outcome))
}

/// What is wrong with actions whose targets expressions have filled in: each names one thing, or what is written in the file
/// to be more. An earlier agent's word, or an input, widens nothing.
fn wider_than_written(written: &[Text], resolved: &[String]) -> Option<String> {
    let wide = |(text, entry): (&Text, &String)| {
        let target = entry.split_once(' ').map_or("", |(_, target)| target);
        let (more, written) = (target.strip_suffix('*').unwrap_or(target), text.source());
        let is_one = !target.trim().is_empty()
            && target.trim() == target
            && target.len() <= limits::RESOURCE_BYTES
            && !more.contains('*')
            && !target.contains(char::is_control)
            && !target.split('/').any(|part| part == "..")
            && (!target.ends_with('*') || written.ends_with('*'))
            && (!matches!(target.trim_end_matches('/'), "." | "")
                || written.trim_end_matches('/').ends_with(" ."));
        (!is_one).then(|| {
            format!("the action {entry:?} is not what `{written}` may become: one thing, named in full")
        })
    };
    written.iter().zip(resolved).find_map(wide)
}

/// What is wrong with a resolved plan. Literal values were checked with the pipeline; expressions yield theirs only now.
fn problem_of(spec: &AgentSpec) -> Option<String> {
    if spec.command.first().is_none_or(String::is_empty) {
        return Some("there is no program to run".to_owned());
    }
    if let Some(path) = spec.artifacts.iter().find(|path| !spec::stays_inside(path)) {
        return Some(format!("the artifact {path:?} is not a relative path inside the workspace"));
    }
    let words = spec.command.iter().chain(spec.env.values()).chain(spec.verify.iter().flatten());
    words
        .into_iter()
        .any(|word| word.contains('\0'))
        .then(|| "a word of a command holds a zero byte".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r007_what_an_expression_yields_names_one_thing_and_widens_nothing() {
        let is_wider = |written: &str, resolved: &str| {
            let written = [Text::parse(written).unwrap()];
            wider_than_written(&written, &[resolved.to_owned()]).is_some()
        };
        for (written, resolved) in [
            ("ansible_run sandbox-*", "ansible_run sandbox-*"),
            ("ansible_run ${{ inputs.host }}", "ansible_run staging-1"),
            ("ansible_run ${{ inputs.kind }}-*", "ansible_run staging-*"),
            ("write_file .", "write_file ."),
            ("write_file ${{ inputs.folder }}/", "write_file out/"),
        ] {
            assert!(!is_wider(written, resolved), "{written}: {resolved}");
        }
        let long = format!("ansible_run {}", "x".repeat(limits::RESOURCE_BYTES + 1));
        for resolved in [
            "ansible_run *",
            "ansible_run staging-*",
            "ansible_run a*b",
            "ansible_run ",
            "ansible_run .",
            "ansible_run ./",
            "ansible_run ../x",
            "ansible_run a\nb",
            "ansible_run  x",
            &long,
        ] {
            assert!(is_wider("ansible_run ${{ inputs.host }}", resolved), "{resolved}");
        }
        // Only the end may stand for more, wherever the expression stands.
        assert!(is_wider("ansible_run ${{ inputs.kind }}-*", "ansible_run *-*"));
    }
}
