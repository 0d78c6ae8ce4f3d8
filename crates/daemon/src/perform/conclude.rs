//! The last phases of an agent whose program has ended: VERIFY, PACKAGE, REPORT, EXIT.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use eparch_domain::{AgentId, Digest, Phase, limits};
use eparch_governor::{Check, Ended, Outcome};
use eparch_ledger::EffectRef;
use eparch_sandbox::Program;

use super::run::Ran;
use super::{Job, collect, failed, never_ran};
use crate::agents::evidence::{Manifest, Report};
use crate::agents::live::{Executed, Live};
use crate::agents::prepare;
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
        for command in &live.spec.verify {
            if live.is_doomed() {
                break;
            }
            let program = verifying(command, &live.env);
            let (ok, detail) = match self.run_program(live, &program, None) {
                Ok(ran) => found(&ran),
                Err(reason) => (false, reason),
            };
            checks.push(Check { name: format!("verify {}", command.join(" ")), ok, detail });
        }
        checks
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

/// A command that checks a result, which has a time of its own: a check that hangs must not hold an agent's place for as
/// long as the stage may take.
fn verifying(command: &[String], env: &BTreeMap<String, String>) -> Program {
    let mut program = prepare::program(command, env);
    program.timeout = Some(limits::VERIFY_TIMEOUT);
    program
}

/// What a command that checks a result found.
fn found(ran: &Ran) -> (bool, String) {
    match &ran.how {
        Ended::Code { code: 0 } => (true, "exited with 0".to_owned()),
        Ended::Code { code } => (false, format!("exited with {code}")),
        Ended::Signal { signal } => (false, format!("ended by signal {signal}")),
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
        let program = verifying(&["sleep".to_owned(), "infinity".to_owned()], &BTreeMap::new());
        assert_eq!(program.timeout, Some(limits::VERIFY_TIMEOUT));
        let ran = |too_long| Ran { how: Ended::Killed, too_long, leftovers: 0, usage: Usage::default() };
        let (ok, detail) = found(&ran(true));
        assert!(!ok && detail.contains(&limits::VERIFY_TIMEOUT.to_string()), "{detail}");
        assert_eq!(found(&ran(false)), (false, "killed".to_owned()));
    }

    #[test]
    fn no_stage_is_called_like_the_folder_of_evidence() {
        eparch_domain::Name::new(EVIDENCE_FOLDER).unwrap_err();
    }
}
