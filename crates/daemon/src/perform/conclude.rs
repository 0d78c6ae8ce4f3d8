//! The last phases of an agent whose program has ended: VERIFY, PACKAGE, REPORT, EXIT.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use eparch_domain::{AgentId, Digest, Phase, in_full, limits};
use eparch_governor::{Check, Ended, Outcome};
use eparch_ledger::EffectRef;
use eparch_sandbox::{Program, WORKSPACE};

use super::run::Ran;
use super::{Job, collect, failed, never_ran};
use crate::agents::evidence::{Manifest, Report};
use crate::agents::live::{Executed, Live};
use crate::agents::prepare;
use crate::agents::spec::OWN_FOLDER;
use crate::home::make_folder;

/// Where evidence and reports lie, by stage, beside the stages' own folders: nothing an agent leaves is put here, and no
/// stage's name begins like this.
const EVIDENCE_FOLDER: &str = "_evidence";

impl Job {
    pub(super) fn conclude(
        &self,
        at: Option<EffectRef>,
        agent: AgentId,
        from: Phase,
        failure: Option<String>,
    ) {
        let outcomes = match self.tools.agents.get(agent) {
            None => vec![failed(from, "EP0246", "its sandbox is gone")],
            Some(live) => self.last_phases(&live, from, failure),
        };
        self.advanced(at, agent, outcomes);
    }

    /// VERIFY, PACKAGE, REPORT and EXIT, as far as they can be carried out.
    fn last_phases(&self, live: &Arc<Live>, from: Phase, failure: Option<String>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let executed = live.executed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut executed = executed.unwrap_or_else(never_ran);
        let mut failure = failure.unwrap_or_default();
        if from <= Phase::Verify {
            let checks = if failure.is_empty() { self.verify(live, &executed) } else { Vec::new() };
            if let Some(check) = checks.iter().find(|check| !check.ok) {
                failure = format!("{}: {}", check.name, check.detail);
            }
            executed.verified = checks.clone();
            outcomes.push(Outcome::Verify { checks });
        }
        let package = match self.package(live, &executed, &failure) {
            Ok(package) => package,
            Err(reason) => {
                outcomes.push(failed(Phase::Package, "EP0248", &reason));
                return outcomes;
            }
        };
        outcomes.push(Outcome::Package { manifest: package });
        match self.write_report(live, &failure, package) {
            Ok(report) => outcomes.push(Outcome::Report { report, package }),
            Err(reason) => {
                outcomes.push(failed(Phase::Report, "EP0249", &reason));
                return outcomes;
            }
        }
        if failure.is_empty() {
            self.show(live, &executed);
        }
        match self.put_away(live) {
            Ok(()) => outcomes.push(Outcome::Exit),
            Err(reason) => outcomes.push(failed(Phase::Exit, "EP0250", &reason)),
        }
        outcomes
    }

    /// Everything that was left was kept, every declared artifact is there, and every command that checks the result
    /// succeeds.
    fn verify(&self, live: &Arc<Live>, executed: &Executed) -> Vec<Check> {
        let mut checks = collect::checks(&live.spec.artifacts, executed);
        checks.extend(each(&live.spec.verify, &|| live.is_doomed(), |number, command| {
            let ran = self
                .room(live, number)
                .and_then(|room| self.run_program(live, &verifying(command, &live.env, &room), None));
            ran.map_or_else(|reason| (false, reason), |ran| found(&ran))
        }));
        checks
    }

    /// A folder for one check alone. Its name cannot be guessed, so nothing of the agent's lies in it: a program reads its
    /// settings from its home, and who wrote those would have a say in what is found.
    fn room(&self, live: &Live, number: usize) -> Result<PathBuf, String> {
        let (secret, agent): (&[u8], _) = (&self.tools.secret, live.spec.agent.bits().to_be_bytes());
        let name = Digest::of_parts(&[secret, b"room", &agent, &number.to_be_bytes()]);
        let room = Path::new(OWN_FOLDER).join(format!("room-{}", &name.hex()[..ROOM_DIGITS]));
        for folder in [HOME, TMP] {
            live.cage
                .workspace()
                .make_folder(room.join(folder))
                .map_err(|problem| format!("it has no room: {}", in_full(&problem)))?;
        }
        Ok(room)
    }

    fn package(&self, live: &Live, executed: &Executed, failure: &str) -> Result<Digest, String> {
        let log = live.log.digest().map_err(|problem| format!("its log cannot be read: {problem}"))?;
        let last_seq = *self.tools.head.borrow();
        let manifest = Manifest::of(live, executed, failure, log, last_seq, self.tools.clock.now().wall);
        let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        self.keep_document(live, "evidence.json", &bytes)
    }

    fn write_report(&self, live: &Live, failure: &str, package: Digest) -> Result<Digest, String> {
        let report = Report::of(live, failure, package, self.tools.clock.now().wall);
        let bytes = serde_json::to_vec_pretty(&report).expect("a report is plain data");
        self.keep_document(live, "report.json", &bytes)
    }

    fn keep_document(&self, live: &Live, name: &str, bytes: &[u8]) -> Result<Digest, String> {
        let kept = self
            .tools
            .artifacts
            .keep_bytes(bytes)
            .map_err(|problem| format!("{name} cannot be kept: {problem}"))?;
        let folder = self.run_folder(live).join(EVIDENCE_FOLDER).join(live.spec.name.as_str());
        self.link(&folder, name, &kept.digest);
        Ok(kept.digest)
    }

    /// Shows the artifacts under their names, for people. The store is the truth; a name that cannot be made is only a
    /// convenience lost.
    fn show(&self, live: &Live, executed: &Executed) {
        let folder = self.run_folder(live).join(live.spec.name.as_str());
        for artifact in &executed.artifacts {
            self.link(&folder, &artifact.path, &artifact.digest);
        }
    }

    fn run_folder(&self, live: &Live) -> PathBuf {
        self.tools.home.runs().join(live.spec.run.to_string())
    }

    fn link(&self, folder: &Path, name: &str, digest: &Digest) {
        let place = folder.join(name);
        if let Some(above) = place.parent()
            && make_folder(above).is_ok()
        {
            let _ = std::fs::remove_file(&place);
            let _ = std::fs::hard_link(self.tools.artifacts.path(digest), &place);
        }
    }
}

/// What is a check's own, in its room.
const HOME: &str = "home";
const TMP: &str = "tmp";
/// Digits of a room's name: too many to try, few enough for the path of a socket in it.
const ROOM_DIGITS: usize = 24;

/// Runs checks one after the other. What is left out because its agent has to end has not passed, and nothing is verified
/// when it had to end meanwhile: whoever decided that has ended the attempt.
fn each(
    commands: &[Vec<String>],
    is_doomed: &dyn Fn() -> bool,
    run: impl Fn(usize, &[String]) -> (bool, String),
) -> Vec<Check> {
    let mut checks = Vec::new();
    for (number, command) in commands.iter().enumerate() {
        let left_out = || (false, "it was ended before this ran".to_owned());
        let (ok, detail) = if is_doomed() { left_out() } else { run(number, command) };
        checks.push(Check { name: format!("verify {}", command.join(" ")), ok, detail });
    }
    if is_doomed() && checks.iter().all(|check| check.ok) {
        let detail = "it was ended before its result was verified".to_owned();
        checks.push(Check { name: "verify".to_owned(), ok: false, detail });
    }
    checks
}

/// A command that checks a result, in a room of its own.
fn verifying(command: &[String], env: &BTreeMap<String, String>, room: &Path) -> Program {
    let mut program = prepare::check(command, env);
    for (name, folder) in [("HOME", HOME), ("TMPDIR", TMP)] {
        let folder = Path::new(WORKSPACE).join(room).join(folder);
        program.env.insert(name.to_owned(), folder.display().to_string());
    }
    program
}

/// What a command that checks a result found.
fn found(ran: &Ran) -> (bool, String) {
    let why = if ran.usage.out_of_memory { "; memory ran out" } else { "" };
    match &ran.how {
        Ended::Code { code: 0 } => (true, "exited with 0".to_owned()),
        Ended::Code { code } => (false, format!("exited with {code}{why}")),
        Ended::Signal { signal } => (false, format!("ended by signal {signal}{why}")),
        Ended::Killed if ran.too_long => {
            (false, format!("it took longer than {} and was ended", limits::VERIFY_TIMEOUT))
        }
        Ended::Killed => (false, "killed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use eparch_governor::Usage;

    use super::*;

    #[test]
    fn a_command_that_verifies_has_a_time_of_its_own_and_its_check_names_it() {
        let env = BTreeMap::from([("HOME".to_owned(), eparch_sandbox::HOME.to_owned())]);
        let program = verifying(&["sleep".to_owned(), "infinity".to_owned()], &env, Path::new(".agent/room"));
        assert!(program.only_given);
        assert_eq!(program.env["HOME"], "/workspace/.agent/room/home");
        assert_eq!(program.env["TMPDIR"], "/workspace/.agent/room/tmp");
        assert_eq!(program.timeout, Some(limits::VERIFY_TIMEOUT));
        let ran = |too_long| Ran { how: Ended::Killed, too_long, leftovers: 0, usage: Usage::default() };
        let (ok, detail) = found(&ran(true));
        assert!(!ok && detail.contains(&limits::VERIFY_TIMEOUT.to_string()), "{detail}");
        assert_eq!(found(&ran(false)), (false, "killed".to_owned()));
    }

    #[test]
    fn checks_that_were_left_out_have_not_passed() {
        let commands = ["a", "b", "c"].map(|name| vec![name.to_owned()]);
        let doomed = std::cell::Cell::new(false);
        let checks = each(&commands, &|| doomed.get(), |number, _| {
            doomed.set(number == 1);
            (true, "exited with 0".to_owned())
        });
        let ok: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.ok)).collect();
        assert_eq!(ok, [("verify a", true), ("verify b", true), ("verify c", false)]);
        assert!(checks[2].detail.contains("ended before"));
        // Also where there was nothing to run, or all of it had run.
        let over = |commands: &[Vec<String>]| each(commands, &|| true, |_, _| (true, String::new()));
        assert!(over(&[]).iter().any(|check| !check.ok) && over(&commands).iter().all(|check| !check.ok));
        assert!(each(&[], &|| false, |_, _| (true, String::new())).is_empty());
    }

    #[test]
    fn no_stage_is_called_like_the_folder_of_evidence() {
        eparch_domain::Name::new(EVIDENCE_FOLDER).unwrap_err();
    }
}
