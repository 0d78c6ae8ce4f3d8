//! The last phases of an agent whose program has ended: VERIFY, PACKAGE, REPORT, EXIT.

use std::sync::{Arc, PoisonError};

use eparch_domain::{AgentId, Digest, Phase};
use eparch_governor::{Check, Ended, Outcome};
use eparch_ledger::EffectRef;

use super::{Job, failed, never_ran};
use crate::agents::evidence::{Manifest, Report};
use crate::agents::live::{Executed, Live};
use crate::home::make_folder;

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
        match self.put_away(live.spec.agent) {
            Ok(()) => outcomes.push(Outcome::Exit),
            Err(reason) => outcomes.push(failed(Phase::Exit, "EP0250", &reason)),
        }
        outcomes
    }

    /// Every declared artifact is there, and every command that checks the result succeeds.
    fn verify(&self, live: &Arc<Live>, executed: &Executed) -> Vec<Check> {
        let mut checks = Vec::new();
        for path in &live.spec.artifacts {
            let found = executed.artifacts.iter().find(|artifact| artifact.path == *path);
            let detail = match found {
                Some(artifact) => format!("{} bytes, {}", artifact.size, artifact.digest),
                None => executed
                    .missing
                    .iter()
                    .find(|line| line.starts_with(path.as_str()))
                    .cloned()
                    .unwrap_or_else(|| "it is missing".to_owned()),
            };
            checks.push(Check { name: format!("artifact {path}"), ok: found.is_some(), detail });
        }
        for command in &live.spec.verify {
            if live.is_doomed() {
                break;
            }
            let (ok, detail) = match self.run_program(live, command) {
                Ok((Ended::Code { code: 0 }, ..)) => (true, "exited with 0".to_owned()),
                Ok((Ended::Code { code }, ..)) => (false, format!("exited with {code}")),
                Ok((Ended::Signal { signal }, ..)) => (false, format!("ended by signal {signal}")),
                Ok((Ended::Killed, ..)) => (false, "killed".to_owned()),
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
        self.link(live, name, &kept.digest);
        Ok(kept.digest)
    }

    /// Shows the artifacts under their names, for people. The store is the truth; a name that cannot be made is only a
    /// convenience lost.
    fn show(&self, live: &Live, executed: &Executed) {
        for artifact in &executed.artifacts {
            self.link(live, &artifact.path, &artifact.digest);
        }
    }

    fn link(&self, live: &Live, name: &str, digest: &Digest) {
        let folder = self.tools.home.runs().join(live.spec.run.to_string()).join(live.spec.name.as_str());
        let place = folder.join(name);
        if let Some(above) = place.parent()
            && make_folder(above).is_ok()
        {
            let _ = std::fs::remove_file(&place);
            let _ = std::fs::hard_link(self.tools.artifacts.path(digest), &place);
        }
    }
}
