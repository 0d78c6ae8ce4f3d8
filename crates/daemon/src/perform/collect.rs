//! Collecting what an ended program left. What cannot be kept whole is named, never passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use eparch_domain::{Artifact, Phase, in_full, limits};
use eparch_governor::Check;
use serde_json::Value;

use super::Job;
use super::run::Ran;
use crate::agents::capture::{Log, Show};
use crate::agents::live::{Executed, Live, Lost};
use crate::agents::outputs;
use crate::agents::spec::{ARTIFACTS_FOLDER, OUTPUT_FILE};

/// The check that fails when an output was lost.
const OUTPUTS: &str = "outputs";
/// The check that fails when a file of the artifacts' folder was lost.
const ARTIFACTS: &str = "artifacts";
/// Lost things that are named one by one; the rest are counted.
const NAMED: usize = 5;

impl Job {
    /// Collects what an ended program left: outputs and artifacts, durable before they are named.
    pub(super) fn collect(&self, live: &Live, ran: Ran) -> Executed {
        let mut lost = Vec::new();
        let outputs = outputs_of(live, &mut lost);
        let artifacts = self.artifacts_of(live, &mut lost);
        let (broadcast, spec) = (self.tools.broadcast.clone(), live.spec.clone());
        let show: Show = Arc::new(move |line| broadcast.log(&spec, line));
        for lost in &mut lost {
            lost.why = live.log.hide_text(&lost.why);
            let text = format!("{}: {}", lost.check, lost.why);
            live.log.accept(live.log.lines_of("eparch", &text, self.tools.clock.now().wall), &show);
        }
        live.log.settle();
        Executed {
            ended: ran.how,
            outputs,
            artifacts,
            lost,
            usage: ran.usage,
            leftovers: ran.leftovers,
            verified: Vec::new(),
        }
    }

    fn artifacts_of(&self, live: &Live, lost: &mut Vec<Lost>) -> Vec<Artifact> {
        let mut wanted: Vec<Wanted> = live
            .spec
            .artifacts
            .iter()
            .map(|path| Wanted { path: plain(path), file: path.clone(), check: declared(path) })
            .collect();
        // A path that is declared twice is one artifact.
        let mut seen = BTreeSet::new();
        wanted.retain(|wanted| seen.insert(wanted.path.clone()));
        let mut lose = |why| lost.push(Lost { check: ARTIFACTS.to_owned(), why });
        match live.cage.workspace().list(ARTIFACTS_FOLDER, limits::STAGE_ARTIFACTS) {
            Ok(found) => {
                for (path, what) in found.others {
                    let path = path.strip_prefix(ARTIFACTS_FOLDER).unwrap_or(&path);
                    lose(format!("{}: it is {what}, which is not kept", path.display()));
                }
                for entry in found.files {
                    match named(&entry.path, &live.log) {
                        Ok((path, file)) => {
                            wanted.push(Wanted { path, file, check: ARTIFACTS.to_owned() });
                        }
                        Err(why) => lose(why),
                    }
                }
            }
            Err(problem) => lose(in_full(&problem)),
        }
        let mut kept = Vec::new();
        let mut left = limits::STAGE_ARTIFACTS_BYTES;
        for Wanted { path, file, check } in wanted {
            match self.keep(live, &path, &file, left).and_then(|artifact| fitting(&kept, artifact)) {
                Ok(Some(artifact)) => {
                    left = left.saturating_sub(artifact.size);
                    kept.push(artifact);
                }
                Ok(None) => {}
                Err(why) => lost.push(Lost { check, why }),
            }
        }
        kept
    }

    /// Keeps one file of at most `left` bytes.
    fn keep(&self, live: &Live, path: &str, file: &str, left: u64) -> Result<Artifact, String> {
        let content = live
            .cage
            .workspace()
            .open_file(file)
            .map_err(|problem| format!("{path}: {}", in_full(&problem)))?;
        let limit = left.min(limits::ARTIFACT_BYTES);
        let too_large = || match limit < limits::ARTIFACT_BYTES {
            true => format!(
                "{path}: all artifacts together have more than {} bytes",
                limits::STAGE_ARTIFACTS_BYTES
            ),
            false => format!("{path}: more than {} bytes", limits::ARTIFACT_BYTES),
        };
        // Its length counts: what has holes takes no memory where it lies, and a disk where it is copied to.
        let length = content.metadata().map_err(|problem| format!("{path}: {problem}"))?.len();
        if length > limit {
            return Err(too_large());
        }
        let mut content = UntilDoomed { from: content, is_doomed: &|| live.is_doomed() };
        let kept =
            self.tools.artifacts.keep(&mut content, limit).map_err(|problem| match problem.kind() {
                io::ErrorKind::FileTooLarge => too_large(),
                _ => format!("{path}: {problem}"),
            })?;
        let grade = Phase::Execute.grade().expect("EXECUTE puts something out");
        Ok(Artifact { path: path.to_owned(), digest: kept.digest, size: kept.size, grade })
    }
}

/// A file that is to be an artifact.
struct Wanted {
    /// Under which path.
    path: String,
    /// Where it lies in the workspace.
    file: String,
    /// The check that fails when it cannot be kept.
    check: String,
}

/// A path without what says nothing in it.
fn plain(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// An artifact as far as it can stand beside those before it: each is a file of its own for the stages that come after.
/// The same thing under the same path, declared and put into the folder as well, is one.
fn fitting(kept: &[Artifact], artifact: Artifact) -> Result<Option<Artifact>, String> {
    let path = Path::new(&artifact.path);
    let beside =
        |other: &&Artifact| path.starts_with(&other.path) || Path::new(&other.path).starts_with(path);
    match kept.iter().find(beside) {
        None if kept.len() >= limits::STAGE_ARTIFACTS => {
            Err(format!("{}: there are more than {} artifacts", artifact.path, limits::STAGE_ARTIFACTS))
        }
        None => Ok(Some(artifact)),
        Some(other) if other.path == artifact.path && other.digest == artifact.digest => Ok(None),
        Some(other) if other.path == artifact.path => {
            Err(format!("{}: there is another artifact of this path", artifact.path))
        }
        Some(other) => Err(format!("{}: {} is an artifact, and not a folder", artifact.path, other.path)),
    }
}

/// The path under which a file of the artifacts' folder is kept, and the file.
fn named(file: &Path, log: &Log) -> Result<(String, String), String> {
    let Some(text) = file.to_str() else {
        return Err(format!("the name of {:?} is not text", file.to_string_lossy()));
    };
    let path = text.strip_prefix(ARTIFACTS_FOLDER).unwrap_or(text).trim_start_matches('/');
    match log.is_secret(path) {
        true => Err(format!("{path}: its name holds a secret")),
        false => Ok((path.to_owned(), text.to_owned())),
    }
}

/// A reader for somebody who may be told to stop.
struct UntilDoomed<'d, R> {
    from: R,
    is_doomed: &'d dyn Fn() -> bool,
}

impl<R: Read> Read for UntilDoomed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.is_doomed)() {
            true => Err(io::Error::other("it was ended while this was being kept")),
            false => self.from.read(buffer),
        }
    }
}

fn outputs_of(live: &Live, lost: &mut Vec<Lost>) -> BTreeMap<String, Value> {
    let mut lose = |why: String| lost.push(Lost { check: OUTPUTS.to_owned(), why });
    let bytes = match live.cage.workspace().read_file(OUTPUT_FILE, limits::OUTPUT_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(problem) => {
            lose(in_full(&problem));
            return BTreeMap::new();
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        lose("what was put out is not all text".to_owned());
    }
    let (values, problems) = outputs::parse(&text);
    problems.into_iter().for_each(&mut lose);
    let mut kept = BTreeMap::new();
    for (name, value) in values {
        if live.log.is_secret(&name) {
            lose(format!("the name {name} holds a secret"));
        } else {
            kept.insert(name, live.log.hide(value));
        }
    }
    kept
}

fn declared(path: &str) -> String {
    format!("artifact {path}")
}

/// What VERIFY says of what was collected: every declared artifact is there, and nothing was lost.
pub(super) fn checks(artifacts: &[String], executed: &Executed) -> Vec<Check> {
    let mut checks = Vec::new();
    for path in artifacts {
        let name = declared(path);
        let path = plain(path);
        let found = executed.artifacts.iter().find(|artifact| artifact.path == path);
        let detail = match found {
            Some(artifact) => format!("{} bytes, {}", artifact.size, artifact.digest),
            None => executed
                .lost
                .iter()
                .find(|lost| lost.check == name)
                .map_or_else(|| "it is missing".to_owned(), |lost| lost.why.clone()),
        };
        checks.push(Check { name, ok: found.is_some(), detail });
    }
    for name in [OUTPUTS, ARTIFACTS] {
        let lost: Vec<_> = executed.lost.iter().filter(|lost| lost.check == name).collect();
        if !lost.is_empty() {
            let named: Vec<_> = lost.iter().take(NAMED).map(|lost| lost.why.as_str()).collect();
            let more = match lost.len() - named.len() {
                0 => String::new(),
                more => format!(" … and {more} more"),
            };
            let detail = format!("{}{more}", named.join("; "));
            checks.push(Check { name: name.to_owned(), ok: false, detail });
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perform::never_ran;

    #[test]
    fn a_result_that_was_not_kept_fails_a_check_of_its_name() {
        let lost = |check: &str, why: &str| Lost { check: check.to_owned(), why: why.to_owned() };
        let mut executed = never_ran();
        assert!(checks(&[], &executed).is_empty());
        executed.lost = vec![lost("artifact out/x", "out/x: no such file"), lost(ARTIFACTS, "a")];
        executed.lost.extend((0..7).map(|number| lost(OUTPUTS, &format!("line {number}"))));
        let found = checks(&["out/x".to_owned()], &executed);
        assert!(found.iter().all(|check| !check.ok));
        let said: Vec<_> = found.iter().map(|check| (check.name.as_str(), check.detail.as_str())).collect();
        let expected = [
            ("artifact out/x", "out/x: no such file"),
            ("outputs", "line 0; line 1; line 2; line 3; line 4 … and 2 more"),
            ("artifacts", "a"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn artifacts_stand_beside_each_other_or_are_lost() {
        let artifact = |path: &str, content: &str| Artifact {
            path: plain(path),
            digest: eparch_domain::Digest::of(content.as_bytes()),
            size: 1,
            grade: Phase::Execute.grade().unwrap(),
        };
        let mut kept = vec![artifact("./out/./plan.json", "checked"), artifact("b/c", "")];
        assert_eq!(kept[0].path, "out/plan.json");
        assert_eq!(fitting(&kept, artifact("out/plan.json", "checked")), Ok(None));
        for (path, content) in
            [("out/plan.json", "other"), ("out/plan.json/deep", ""), ("out", ""), ("b", "")]
        {
            assert!(fitting(&kept, artifact(path, content)).is_err_and(|why| why.contains(path)), "{path}");
        }
        assert!(matches!(fitting(&kept, artifact("out/plan.json2", "")), Ok(Some(_))));
        kept.extend((2..limits::STAGE_ARTIFACTS).map(|number| artifact(&format!("n{number}"), "")));
        assert!(fitting(&kept, artifact("last", "")).unwrap_err().contains("more than 256"));
    }

    #[test]
    fn copying_stops_when_its_agent_has_to_end() {
        let reads = std::cell::Cell::new(0);
        let is_doomed = || {
            reads.set(reads.get() + 1);
            reads.get() > 2
        };
        let mut endless = UntilDoomed { from: io::repeat(0), is_doomed: &is_doomed };
        let stopped = io::copy(&mut endless, &mut io::sink()).unwrap_err();
        assert!(stopped.to_string().contains("ended"), "{stopped}");
    }
}
